"""Nodes of a cluster under trio, over logs in memory and a network that can be cut, on the mock clock."""

from __future__ import annotations

import contextlib
from collections import Counter
from random import Random

import pytest
import trio
from trio.testing import MockClock

from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.driver.wire import Forward, ForwardAnswer, Own, encode_own
from flow_storage.memory import MemoryLog
from flowcore.errors import (
    CallError,
    InvalidArguments,
    OutcomeUnknown,
    Overloaded,
    StateUnavailable,
    StorageFailed,
    StorageFull,
    UntrustedFile,
)
from flowcore.state import LogEntry
from support.raft.nodes import Network, open_group

ABC = ("a", "b", "c")


async def test_all_see_what_any_of_them_proposes(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        await group.leader()
        taken: dict[int, bytes] = {}

        async def one(name: str, number: int) -> None:
            command = b"%s %d" % (name.encode(), number)
            position = await group[name].propose(command)
            assert position not in taken
            taken[position] = command

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(one, ABC[number % 3], number)
        assert sorted(await group.agree()) == sorted(taken.values())
        for entry in group.running["a"].seen:
            assert entry.data == taken.get(entry.position, b"")
        leader = await group.leader()
        status = group[leader].status()
        assert status["role"] == "leader"
        assert status["largest_batch"] > 1
        assert status["followers"].keys() == set(ABC) - {leader}
        assert sum(group[name].status()["forwarded"] for name in ABC) == 40


async def test_when_the_leader_goes_another_one_leads(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        first = await group.leader()
        await group[first].propose(b"before")
        await group.stop(first)
        began = trio.current_time()
        others = [one for one in ABC if one != first]
        await group[others[0]].propose(b"meanwhile")
        assert trio.current_time() - began < 1
        await group.start(first)
        await group[first].propose(b"after")
        assert await group.agree() == [b"before", b"meanwhile", b"after"]
        assert sum(group[one].status()["elections"] for one in others) >= 1


async def test_a_minority_refuses_within_its_patience(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        others = [one for one in ABC if one != leader]
        group.network.isolate(others[0])
        for _ in range(3):
            began = trio.current_time()
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                await group[others[0]].read_barrier()
            assert trio.current_time() - began < 1
            began = trio.current_time()
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                await group[others[0]].propose(b"nowhere")
            assert trio.current_time() - began < 1
        await group[leader].propose(b"here")
        group.network.heal()
        assert await group[others[0]].propose(b"again")
        assert await group.agree() == [b"here", b"again"]


async def test_what_a_deposed_leader_had_taken_is_told_truly(autojump_clock: MockClock) -> None:
    """Cut off with commands in its log: they are unknown to it, or replaced for good, once it hears."""
    async with open_group(ABC) as group:
        leader = await group.leader()
        group.network.isolate(leader)
        began = trio.current_time()
        outcomes: list[Exception] = []

        async def one() -> None:
            with contextlib.suppress(StateUnavailable):
                try:
                    await group[leader].propose(b"cut off")
                except OutcomeUnknown as error:
                    outcomes.append(error)
                    assert trio.current_time() - began < 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            other = await group.leader([name for name in ABC if name != leader])
            await group[other].propose(b"there")
        assert len(outcomes) == 1
        group.network.heal()
        assert await group.agree() == [b"there"]


async def test_what_is_replaced_is_told_to_be_lost(autojump_clock: MockClock) -> None:
    async with open_group(ABC, RaftSettings(patience=60.0)) as group:
        leader = await group.leader()
        group.network.isolate(leader)

        async def one() -> None:
            with pytest.raises(StateUnavailable, match="taken its place") as caught:
                await group[leader].propose(b"cut off")
            assert not caught.value.began

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
            await group.leader([name for name in ABC if name != leader])
            group.network.heal()
        assert await group.agree() == []


async def test_a_leader_that_is_replaced_may_have_committed(autojump_clock: MockClock) -> None:
    """Its entries got to the others, their answers did not: they are committed by the next leader."""
    async with open_group(ABC, RaftSettings(patience=60.0)) as group:
        leader = await group.leader()
        others = [name for name in ABC if name != leader]
        group.network.cut |= {(one, leader) for one in others}

        positions: list[int] = []

        async def one() -> None:
            positions.append(await group[leader].propose(b"kept"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.sleep(0.05)
            group.network.isolate(leader)
            await group.leader(others)
            group.network.heal()
        assert await group.agree() == [b"kept"]
        assert group.running[leader].seen[positions[0] - 1].data == b"kept"


async def test_a_forward_is_proposed_once_however_often_it_is_sent(
    autojump_clock: MockClock,
) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        lost = [0]

        def lose(sender: str, to: str, message: bytes) -> bool:
            if (sender, to) == (leader, follower) and message[:1] == b"\x81" and lost[0] < 3:
                lost[0] += 1
                return True
            return False

        group.network.lose = lose
        await group[follower].propose(b"once")
        assert lost[0] == 3
        assert await group.agree() == [b"once"]


async def test_a_forward_for_another_term_is_not_taken(autojump_clock: MockClock) -> None:
    """The one that was refused may have a copy under way: that must not be taken later on."""
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        term = group[leader].engine.term
        answers: list[ForwardAnswer] = []
        post = group[leader].send_own

        def send_own(to: str, message: Own) -> bool:
            if isinstance(message, ForwardAnswer):
                answers.append(message)
            return post(to, message)

        group[leader].send_own = send_own  # type: ignore[method-assign]
        for at in (term - 1, term + 1, term, term - 1, term):
            group[leader].received(follower, encode_own(Forward(7, at, [b"once"])))
        group[follower].received(leader, encode_own(Forward(8, term, [b"never"])))
        assert [one.first > 0 for one in answers] == [False, False, True, True, True]
        assert [one.final for one in answers] == [False, False, True, True, True]
        await group[follower].propose(b"last")
        assert await group.agree() == [b"once", b"last"]


async def test_reads_see_what_was_acknowledged(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        for number in range(5):
            position = await group[ABC[number % 3]].propose(b"%d" % number)
            for name in ABC:
                assert await group[name].read_barrier() >= position
                assert await group[name].read_barrier(leased=True) >= position
        sent = group[leader].status()["sent"]
        assert await group[leader].read_barrier(leased=True)
        assert group[leader].status()["sent"] <= sent + 2  # a heartbeat may have been due


async def test_many_reads_share_a_question(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        before = group[leader].engine.round
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(group[leader].read_barrier)
        assert group[leader].engine.round <= before + 2


async def test_a_read_whose_answer_is_lost_is_asked_again(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        lost: list[bytes] = []

        def lose(sender: str, to: str, message: bytes) -> bool:
            question = (sender, to) == (follower, leader) and message[2:3] == b"\x09"
            if question:
                lost.append(message)
            return question and len(lost) == 1

        group.network.lose = lose
        assert await group[follower].read_barrier() > 0
        assert len(lost) == 2


async def test_a_fourth_node_joins_and_replaces_one(autojump_clock: MockClock) -> None:
    async with open_group(ABC, RaftSettings(keep=10)) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        for number in range(30):
            await group[leader].propose(b"%d" % number)
        for name in ABC:
            await group.agree()
            await group[name].compact(group[name].last)
        await group.start("d", joins=True)
        await group[follower].change_voters(add=["d"])
        assert group[leader].status()["learners"] == ["d"]
        await group.agree()
        (installed,) = group.running["d"].installed
        assert b"29" in b"".join(installed[1])
        await group[follower].change_voters(promote=["d"])
        await group[follower].change_voters(remove=[leader])
        await group.stop(leader)
        await group["d"].propose(b"without it")
        rest = [one for one in "abcd" if one != leader]
        assert (await group.agree(rest))[-1] == b"without it"
        assert group[rest[0]].status()["voters"] == rest
        with pytest.raises(InvalidArguments, match="no members"):
            await group["d"].change_voters(remove=["x"])
        with pytest.raises(InvalidArguments, match="nothing would change"):
            await group["d"].change_voters(promote=["d"])
        with pytest.raises(InvalidArguments, match="two of"):
            await group["d"].change_voters(promote=["d"], remove=["d"])


async def test_a_node_that_was_away_for_long_gets_a_snapshot(autojump_clock: MockClock) -> None:
    async with open_group(ABC, RaftSettings(keep=5), Network(most=1000)) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        await group.stop(follower)
        for number in range(40):
            await group[leader].propose(b"%d" % number * 100)
        await group[leader].compact(group[leader].last)
        await group.start(follower)
        await group.agree()
        (installed,) = group.running[follower].installed
        assert b"".join(installed[1]) == b"".join(b"%d" % number * 100 for number in range(40))
        await group.stop(follower)
        await group.start(follower)
        await group[follower].propose(b"after")
        await group.agree()
        assert group.running[follower].commands[-1] == b"after"


async def test_leadership_can_be_handed_over(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        other = next(one for one in ABC if one != leader)
        with pytest.raises(StateUnavailable, match="does not lead"):
            group[other].transfer_leadership(leader)
        group[leader].transfer_leadership(other)
        while await group.leader() != other:  # noqa: ASYNC110
            await trio.sleep(0.01)
        await group[leader].propose(b"on")
        assert await group.agree() == [b"on"]


async def test_a_large_command_goes_in_pieces(autojump_clock: MockClock) -> None:
    async with open_group(ABC, network=Network(most=64 * 1024)) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        large = Random(1).randbytes(3 * 2**20)
        await group[follower].propose(large)
        assert await group.agree() == [large]
        with pytest.raises(CallError, match="more than"):
            await group[leader].propose(bytes(33 * 2**20))
        with pytest.raises(CallError, match="empty"):
            await group[leader].propose(b"")


async def test_more_than_may_wait_is_refused(autojump_clock: MockClock) -> None:
    async with open_group(ABC, RaftSettings(queue=10)) as group:
        leader = await group.leader()
        outcomes: Counter[str] = Counter()

        async def one(number: int) -> None:
            try:
                await group[leader].propose(b"%d" % number)
                outcomes["taken"] += 1
            except Overloaded as error:
                assert error.retry_after
                outcomes["refused"] += 1

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert outcomes.total() == 50
        assert outcomes["taken"] >= 10
        assert group[leader].status()["refused"] == outcomes["refused"] > 0


class Failing(MemoryLog):
    """A log whose disk gives an error once it is told to."""

    error: Exception | None = None

    async def append(self, *args: object, **more: object) -> None:
        if self.error is not None:
            await trio.lowlevel.checkpoint()
            raise self.error
        await super().append(*args, **more)  # type: ignore[arg-type]


async def test_a_leader_whose_disk_fails_is_replaced(autojump_clock: MockClock) -> None:
    storages = {name: Failing(name) for name in ABC}
    async with open_group(ABC, storages=dict(storages)) as group:
        leader = await group.leader()
        await group[leader].propose(b"before")
        storages[leader].error = StorageFailed("input/output error")
        with pytest.raises(OutcomeUnknown, match="nobody knows"):
            await group[leader].propose(b"perhaps")
        with pytest.raises(StateUnavailable, match="input/output error"):
            await group[leader].propose(b"never")
        with pytest.raises(StateUnavailable, match="input/output error"):
            await group[leader].read_barrier()
        others = [one for one in ABC if one != leader]
        await group[others[0]].propose(b"after")
        commands = await group.agree(others)
        assert commands in ([b"before", b"after"], [b"before", b"perhaps", b"after"])
        assert "input/output error" in group[leader].status()["stopped"]


async def test_a_leader_without_room_hands_over_until_there_is_room(
    autojump_clock: MockClock,
) -> None:
    storages = {name: Failing(name) for name in ABC}
    async with open_group(ABC, storages=dict(storages)) as group:
        leader = await group.leader()
        storages[leader].error = StorageFull("there is no room")
        with contextlib.suppress(OutcomeUnknown, StateUnavailable):
            await group[leader].propose(b"perhaps")
        other = await group.leader([one for one in ABC if one != leader])
        await group[other].propose(b"there")
        assert group[leader].status()["trouble"] == "there is no room"
        storages[leader].error = None
        await group[leader].propose(b"again")
        assert (await group.agree())[-2:] == [b"there", b"again"]
        assert group[leader].status()["trouble"] == ""


async def test_a_log_that_is_behind_its_state_is_refused(autojump_clock: MockClock) -> None:
    async with open_group(("a",)) as group:
        position = await group["a"].propose(b"x")
        with pytest.raises(UntrustedFile, match="another one's"):
            await anext(group["a"].committed(position + 1))


async def test_a_storage_that_no_engine_has_written_is_refused() -> None:
    storage = MemoryLog("x")
    await storage.append([LogEntry(1, 5, b"?")], hard_state=b"?")
    with pytest.raises(ExceptionGroup) as caught:
        async with open_group(("a",), storages={"a": storage}):
            pass
    assert caught.group_contains(UntrustedFile, match="cannot be read")


async def test_garbage_is_counted_and_nothing_else(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        chance = Random(3)
        for _ in range(300):
            for prefix in (b"", b"\x01", b"\x81", b"\x82"):
                group[leader].received("b", prefix + chance.randbytes(chance.randrange(40)))
                group[leader].received("stranger", prefix + chance.randbytes(chance.randrange(40)))
        status = group[leader].status()
        assert status["bad_messages"] > 1000
        await group[leader].propose(b"fine")
        assert await group.agree() == [b"fine"]


@pytest.mark.parametrize("seed", range(8))
async def test_under_cuts_and_restarts_each_command_is_there_once_or_not(
    seed: int, autojump_clock: MockClock
) -> None:
    """Acknowledged: once, where it was said to be. Refused: nowhere. Unknown: at most once."""
    chance = Random(seed)
    async with open_group(ABC, RaftSettings(keep=20)) as group:
        acknowledged: dict[bytes, int] = {}
        refused: set[bytes] = set()
        done = trio.Event()

        async def client(number: int) -> None:
            count = 0
            while not done.is_set():
                count += 1
                command = b"%d.%d" % (number, count)
                name = chance.choice(sorted(group.running))
                try:
                    acknowledged[command] = await group[name].propose(command)
                except OutcomeUnknown:
                    pass
                except CallError as error:
                    assert not error.began
                    refused.add(command)
                await trio.sleep(chance.random() * 0.05)

        async def compactor() -> None:
            while not done.is_set():
                name = chance.choice(sorted(group.running))
                seen = group.running[name].seen
                if seen:
                    await group[name].compact(seen[-1].position)
                await trio.sleep(0.3)

        group.network.lose = lambda sender, to, message: chance.random() < 0.02
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(client, number)
            nursery.start_soon(compactor)
            for _ in range(12):
                await trio.sleep(chance.random())
                act = chance.random()
                name = chance.choice(ABC)
                if act < 0.4:
                    group.network.isolate(name)
                elif act < 0.5:
                    other = chance.choice([one for one in ABC if one != name])
                    group.network.cut.add((name, other))
                elif act < 0.8:
                    await group.stop(name)
                    await trio.sleep(chance.random() * 0.5)
                    await group.start(name)
                else:
                    group.network.heal()
                if chance.random() < 0.5:
                    await trio.sleep(0.5)
                    group.network.heal()
            group.network.heal()
            group.network.lose = lambda sender, to, message: False
            await trio.sleep(2)
            done.set()
        with trio.move_on_after(60) as scope:
            await group[await group.leader()].propose(b"last")
            await group.agree()
        for name, one in group.running.items():
            assert not scope.cancelled_caught, {
                name: (one.raft.status(), one.seen[-1:]) for name, one in group.running.items()
            }
        history = group.history
        assert sorted(history) == list(range(1, len(history) + 1))
        counts = Counter(command for command in history.values() if command)
        assert max(counts.values()) == 1
        assert not refused & counts.keys()
        assert {command: history.get(at) for command, at in acknowledged.items()} == {
            command: command for command in acknowledged
        }
        assert len(acknowledged) > 50
