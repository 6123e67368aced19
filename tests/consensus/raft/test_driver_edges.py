"""A driver's edges: snapshots in many pieces, changes that cannot be made, nodes that stop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from flow_consensus.pieces import BadMessage, Joiner, cut
from flow_consensus.raft import encode
from flow_consensus.raft.driver.settings import RaftSettings
from flow_consensus.raft.driver.wire import (
    Ask,
    Forward,
    ForwardAnswer,
    decode_own,
    encode_own,
)
from flow_consensus.raft.messages import TimeoutNow
from flow_storage.memory import MemoryLog
from flowcore.errors import (
    AssemblyError,
    CallError,
    InvalidArguments,
    OutcomeUnknown,
    StateUnavailable,
    StorageFailed,
)
from flowcore.flow import open_flow
from flowcore.state import LogEntry
from support.raft.nodes import Group, Network, open_group

ABC = ("a", "b", "c")


async def behind(group: Group, commands: list[bytes]) -> tuple[str, str]:
    """A leader, and a follower that was away while these were committed and compacted."""
    leader = await group.leader()
    follower = next(one for one in ABC if one != leader)
    await group.stop(follower)
    for command in commands:
        await group[leader].propose(command)
    await group[leader].compact(group[leader].last)
    while group[leader].engine.log.start == 0:  # noqa: ASYNC110
        await trio.sleep(0.01)
    return leader, follower


@pytest.mark.parametrize("seed", range(4))
async def test_a_snapshot_of_many_pieces_gets_there_over_links_that_lose(
    seed: int, autojump_clock: MockClock
) -> None:
    chance = Random(seed)
    commands = [chance.randbytes(90_000) for _ in range(14)]
    network = Network(most=64 * 1024)
    async with open_group(ABC, RaftSettings(keep=0), network) as group:
        leader, follower = await behind(group, commands)
        network.lose = lambda sender, to, message: chance.random() < 0.05 * seed
        await group.start(follower)
        while not group.running[follower].installed:  # noqa: ASYNC110
            await trio.sleep(0.1)
        (_, pieces) = group.running[follower].installed[0]
        assert len(pieces) == 5
        assert b"".join(pieces) == b"".join(commands)
        network.lose = lambda sender, to, message: False
        await group[leader].propose(b"after")
        await group.agree()


async def test_a_snapshot_that_cannot_be_read_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_group(ABC, RaftSettings(keep=0)) as group:
        leader, follower = await behind(group, [b"%d" % one for one in range(20)])
        source = group[leader]._snapshots.source
        assert source is not None
        tries: list[str] = []

        @asynccontextmanager
        async def failing() -> AsyncGenerator[tuple[int, AsyncGenerator[bytes]]]:
            tries.append("")
            if len(tries) == 1:
                raise StateUnavailable("not now")
            async with source() as (position, pieces):
                yield (
                    (0 if len(tries) == 2 else position),
                    pieces,
                )  # 0: older than what is compacted

        group[leader].snapshots_from(failing)
        await group.start(follower)
        while not group.running[follower].installed:  # noqa: ASYNC110
            await trio.sleep(0.1)
        assert len(tries) == 3


async def test_without_a_source_a_snapshot_waits_for_one(autojump_clock: MockClock) -> None:
    async with open_group(ABC, RaftSettings(keep=0)) as group:
        leader, follower = await behind(group, [b"%d" % one for one in range(20)])
        source, group[leader]._snapshots.source = group[leader]._snapshots.source, None
        await group.start(follower)
        await trio.sleep(1)
        assert not group.running[follower].installed
        assert source is not None
        group[leader].snapshots_from(source)
        while not group.running[follower].installed:  # noqa: ASYNC110
            await trio.sleep(0.1)


async def test_changes_are_refused_where_they_cannot_be_made(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        with pytest.raises(StateUnavailable, match="no leader"):
            group.network.isolate(*ABC[:1])
            await group["a"].change_voters(add=["d"])
        group.network.heal()
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        group.network.lose = lambda sender, to, message: message[:1] == b"\x81"
        with pytest.raises(OutcomeUnknown, match="has not answered"):
            await group[follower].change_voters(add=["d"])
        group.network.lose = lambda sender, to, message: False
        await group[follower].change_voters(add=["d"])
        with pytest.raises(InvalidArguments, match="nothing would change"):
            await group[follower].change_voters(add=["d"])
        for settled in (leader, follower):  # to add it would take its vote away
            with pytest.raises(InvalidArguments, match=f"{settled}'. are voters already"):
                await group[follower].change_voters(add=[settled])
        assert group[leader].status()["voters"] == ["a", "b", "c"]
        group[leader].received(follower, encode_own(Ask(1, ["x"], ["x"], [])))
        with pytest.raises(StateUnavailable, match="learner 'd' has not been heard of"):
            await group[leader].change_voters(promote=["d"])
        assert group[leader].status()["voters"] == ["a", "b", "c"]


async def test_a_change_without_a_majority_is_not_told_to_be_made(
    autojump_clock: MockClock,
) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        others = [one for one in ABC if one != leader]

        async def one() -> None:
            with pytest.raises(StateUnavailable, match="taken its place"):
                await group[leader].change_voters(add=["d"])

        async with trio.open_nursery() as nursery:
            group.network.isolate(leader)  # it leads until it has missed the others
            nursery.start_soon(one)
            other = await group.leader(others)
            await group[other].propose(b"x")
            group.network.heal()


async def test_who_is_stopped_tells_those_who_wait(autojump_clock: MockClock) -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        group.network.isolate(leader)
        group.network.isolate(follower)
        outcomes: list[CallError] = []

        async def propose(name: str) -> None:
            try:
                await raft[name].propose(b"x")
            except CallError as error:
                outcomes.append(error)

        async def read(name: str) -> None:
            try:
                await raft[name].read_barrier()
            except CallError as error:
                outcomes.append(error)

        raft = {name: group[name] for name in ABC}
        async with trio.open_nursery() as nursery:
            for name in (leader, follower):
                nursery.start_soon(propose, name)
                nursery.start_soon(read, name)
            await trio.testing.wait_all_tasks_blocked()
            await group.stop(leader)
            await group.stop(follower)
        assert len(outcomes) == 4
        assert {type(one) for one in outcomes} == {OutcomeUnknown, StateUnavailable}
        with pytest.raises(StateUnavailable, match="being stopped"):
            await raft[leader].propose(b"x")
        with pytest.raises(StateUnavailable, match="being stopped"):
            await raft[leader].read_barrier()
        with pytest.raises(StateUnavailable, match="being stopped"):
            await raft[leader].change_voters(add=["d"])
        await raft[leader].compact(1)


async def test_a_leader_that_is_not_there_any_more_is_told_of_again(
    autojump_clock: MockClock,
) -> None:
    """A forward that surely does not arrive goes to the next leader; nothing is unknown then."""
    async with open_group(ABC, RaftSettings(patience=5.0)) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        await group.stop(leader)
        await group[follower].propose(b"x")
        assert await group.agree([one for one in ABC if one != leader]) == [b"x"]


class Unreadable(MemoryLog):
    """A log that cannot be read back."""

    broken = False

    async def read(self, first: int, last: int, limit: int = 1 << 20) -> list[LogEntry]:
        if self.broken:
            raise StorageFailed("input/output error")
        return await super().read(first, last, limit)


async def test_an_answer_that_comes_when_its_leader_is_lost_is_not_waited_on_for_ever(
    autojump_clock: MockClock,
) -> None:
    """Nobody leads any more, and nobody will: what was placed by the last leader is unknown."""
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        answers: list[bytes] = []

        def lose(sender: str, to: str, message: bytes) -> bool:
            answer = (sender, to) == (leader, follower) and message[:1] == b"\x81"
            if answer:
                answers.append(message)
                for one in ABC:
                    group.network.isolate(one)
            return answer

        group.network.lose = lose
        began = trio.current_time()

        async def propose() -> None:
            with pytest.raises(OutcomeUnknown, match="leader was lost before it was decided"):
                await group[follower].propose(b"late")

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(propose)
                while not answers or group[follower].engine.leader:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                group[follower].received(leader, answers[0])
        assert trio.current_time() - began < 1.5


async def test_what_is_still_asked_for_is_the_last_to_be_forgotten(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow_consensus.raft.driver.proposals._FORWARDS", 2)
    async with open_group(ABC) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        term = group[leader].engine.term
        for number in (1, 2, 1, 3, 1, 4, 1):
            forward = Forward(number, term, [b"%d" % number])
            group[leader].received(follower, encode_own(forward))
        await group[leader].propose(b"last")
        assert await group.agree() == [b"1", b"2", b"3", b"4", b"last"]


async def test_a_leader_that_cannot_read_its_log_leads_no_more(autojump_clock: MockClock) -> None:
    storages = {name: Unreadable(name) for name in ABC}
    settings = RaftSettings(memory=1000)
    async with open_group(ABC, settings, storages=dict(storages)) as group:
        leader = await group.leader()
        follower = next(one for one in ABC if one != leader)
        await group.stop(follower)
        for number in range(30):
            await group[leader].propose(b"%d" % number * 100)
        await group.start(follower)  # reads its own, and is sent what the leader has to read
        await group.agree()
        await group.stop(follower)
        for number in range(30):
            await group[leader].propose(b"%d" % number * 100)
        storages[leader].broken = True
        await group.start(follower)
        other = await group.leader([one for one in ABC if one != leader])
        assert other != leader
        assert "input/output" in group[leader].status()["stopped"]


def test_pieces_of_a_message_are_put_together_or_dropped() -> None:
    whole = bytes(range(256)) * 10
    pieces = cut(whole, 300, 5)
    assert all(len(one) <= 300 for one in pieces)
    joiner = Joiner()
    assert [joiner.take(one) for one in pieces] == [None] * (len(pieces) - 1) + [whole]
    assert joiner.take(encode(TimeoutNow(1))) == encode(TimeoutNow(1))
    for lost in range(len(pieces)):
        parts = [one for at, one in enumerate(pieces) if at != lost]
        assert [joiner.take(one) for one in parts] == [None] * len(parts)
    assert [joiner.take(one) for one in pieces][-1] == whole
    with pytest.raises(BadMessage, match="cut off"):
        joiner.take(pieces[0][:10])
    with pytest.raises(BadMessage, match="of 1 pieces"):
        joiner.take(cut(whole, 3000, 1)[0][:0] + b"\x82" + bytes(11) + b"\x00\x00\x00\x00\x01")
    inner = cut(b"\x82" + bytes(999), 300, 6)
    with pytest.raises(BadMessage, match="within"):
        for one in inner:
            joiner.take(one)


def test_a_drivers_messages_are_checked() -> None:
    for message in (Forward(1, 1, [b"x"]), ForwardAnswer(1, 2, True), Ask(1, ["d"], [], [])):
        assert decode_own(encode_own(message)) == message
    for wrong in (Forward(1, 1, []), Forward(-1, 1, [b"x"]), Ask(1, [""], [], [])):
        with pytest.raises(BadMessage):
            decode_own(encode_own(wrong))
    with pytest.raises(BadMessage):
        decode_own(b"\x81" + b"\x91" * 100_000)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="half of election"):
        RaftSettings(election=0.15, heartbeat=0.1)
    with pytest.raises(ValueError, match="each voter once"):
        RaftSettings(voters=("a", "a"))
    settings = RaftSettings(election=0.3, heartbeat=0.05)
    assert settings.engine().election_ticks == 30
    assert settings.tick == pytest.approx(0.01)


async def test_a_flow_with_one_voter_keeps_a_state() -> None:
    config: dict[str, Any] = {
        "node": {"name": "alpha"},
        "consensus": {"type": "raft", "voters": ["alpha"]},
        "storage": {"type": "memory"},
        "state": {},
    }
    async with open_flow(config) as flow:
        assert flow.state is not None
        status = flow.state.status()["consensus"]
        assert status["role"] == "leader"
        assert status["voters"] == ["alpha"]
    config["node"]["name"] = "beta"
    with pytest.raises(AssemblyError, match="nobody can lead"):
        async with open_flow(config):
            pass


async def test_any_node_tells_how_far_the_members_are_by_what_the_leader_knows() -> None:
    async with open_group(ABC) as group:
        leader = await group.leader()
        await group[leader].propose(b"x")
        await group.agree()
        for name in ABC:
            while True:  # until its leader has heard what all have
                found = await group[name].followers()
                if len(found) == 2 and not any(one["lag"] for one in found.values()):
                    break
                await trio.sleep(0.01)
            assert found.keys() == {*ABC} - {leader}
            assert {one["match"] for one in found.values()} == {group[leader].last}
        other = "a" if leader != "a" else "b"
        group.network.isolate(other)
        assert await group[other].followers() == {}  # nobody answers
