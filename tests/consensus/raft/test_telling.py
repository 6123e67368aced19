"""A `Commit` goes when somebody waits for it, or when nothing else has said the same for a moment."""

from __future__ import annotations

import itertools

import trio
from trio.testing import MockClock

from flow_consensus.raft.driver.telling import Telling
from flow_consensus.raft.messages import Append, Commit, Heartbeat, Message, ReadAnswer
from support.raft.nodes import open_group

ABC = ("a", "b", "c")


async def test_an_append_takes_the_place_of_what_was_held(autojump_clock: MockClock) -> None:
    sent: list[tuple[str, Message]] = []
    telling = Telling(lambda to, message: sent.append((to, message)))
    append = Append(1, 4, 1, 5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(telling.run)
        telling.send("b", Commit(1, 4))
        telling.send("c", Commit(1, 4))
        telling.send("b", append)
        assert sent == [("b", append)]
        telling.send("c", Commit(1, 5))
        await trio.sleep(1)
        assert sent == [("b", append), ("c", Commit(1, 5))]
        nursery.cancel_scope.cancel()


async def test_who_waits_is_told_at_once_until_it_knows() -> None:
    sent: list[tuple[str, Message]] = []
    telling = Telling(lambda to, message: sent.append((to, message)))
    telling.send("b", Commit(1, 4))
    telling.awaited("b", 6)
    telling.send("b", Commit(1, 5))
    telling.send("b", Heartbeat(1, 6, 9))
    telling.send("b", Commit(1, 7))
    assert [message for _, message in sent] == [Commit(1, 4), Commit(1, 5), Heartbeat(1, 6, 9)]
    telling.send("b", ReadAnswer(1, 3, 7))
    assert [message for _, message in sent[3:]] == [Commit(1, 7), ReadAnswer(1, 3, 7)]
    telling.send("b", Commit(1, 8))
    telling.forget()
    telling.send("b", Append(2, 8, 1, 8))
    assert [message for _, message in sent[5:]] == [Append(2, 8, 1, 8)]


async def test_a_follower_that_proposes_or_reads_waits_no_moment(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(name for name in ABC if name != leader)
        for number in range(20):
            began = trio.current_time()
            position = await group[follower].propose(b"%d" % number)
            position = max(position, await group[leader].propose(b"of the leader"))
            assert await group[follower].read_barrier() >= position
            while group[follower].last < position:
                await group[follower].wait_moved()
            assert trio.current_time() == began


async def test_who_waits_for_nothing_knows_a_moment_later(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        for number, name in itertools.product(range(5), ABC):
            position = await group[leader].propose(b"%d" % number)
            began = trio.current_time()
            while group[name].last < position:
                await group[name].wait_moved()
            assert trio.current_time() - began < group[name].settings.heartbeat / 2
