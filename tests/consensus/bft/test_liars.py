"""Drivers with one engine among them that lies: the others agree, serve, and find it out."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from flow_consensus.bft.driver.settings import BftSettings
from flow_consensus.bft.driver.states import States
from flow_consensus.bft.messages import Chunk, Message
from flow_storage.memory import MemoryLog
from support.bft.liars import Censor, Equivocator, Silent, corrupted
from support.bft.nodes import ABCD, Group, open_group

FIVE = ("a", "b", "c", "d", "e")


async def _load(group: Group, names: str, count: int) -> None:
    """Each of these nodes is asked for so many commands, all at once."""

    async def one(name: str) -> None:
        for number in range(count):
            await group[name].propose(b"%s %d" % (name.encode(), number))

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)


async def _until_accused(group: Group, names: str, liar: str) -> None:
    with trio.fail_after(60):
        for name in names:
            while liar not in group[name].engine.standing.accused:
                await group[name].wait_moved()


async def test_a_leader_that_proposes_two_blocks_is_found_out(autojump_clock: MockClock) -> None:
    async with open_group(engines={"a": Equivocator}) as group:
        await _load(group, "bcd", 20)
        assert len(await group.agree("bcd")) == 60
        await _until_accused(group, "bcd", "a")
        assert len({tuple(one.data for one in group.running[name].seen) for name in "bcd"}) == 1
        for name in "bcd":
            status = group[name].status()
            assert "two " in status["evidence"]["a"]
            assert status["leader"] != "a"
            assert any(one.kind == "accused" for one in group.running[name].events)


async def test_who_lied_is_left_out_where_that_is_wanted(autojump_clock: MockClock) -> None:
    settings = BftSettings(voters=FIVE, exclude=True)
    async with open_group(FIVE, settings, engines={"e": Equivocator}) as group:
        await _load(group, "abcd", 10)
        await _until_accused(group, "abcd", "e")
        await _load(group, "abcd", 5)
        for name in "abcd":
            status = group[name].status()
            assert status["voters"] == ["a", "b", "c", "d"]
            assert status["epoch"] == 2


async def test_with_four_voters_nobody_can_be_left_out(autojump_clock: MockClock) -> None:
    settings = BftSettings(voters=ABCD, exclude=True)
    async with open_group(ABCD, settings, engines={"d": Equivocator}) as group:
        await _load(group, "abc", 10)
        await _until_accused(group, "abc", "d")
        assert group["a"].status()["voters"] == ["a", "b", "c", "d"]


async def test_a_leader_cannot_leave_out_what_a_node_asks_for(autojump_clock: MockClock) -> None:
    settings = BftSettings(voters=ABCD, overdue=0.3)
    async with open_group(settings=settings, engines={"a": Censor}) as group:
        await group["b"].propose(b"first")
        assert group["b"].status()["leader"] == "a"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group["d"].propose, b"of whom the leader does not like")
            for number in range(20):
                await group["b"].propose(b"%d" % number)
                await trio.sleep(0.1)
        assert b"of whom the leader does not like" in await group.agree("bcd")
        assert group["b"].status()["leader"] != "a"


@pytest.mark.parametrize("liar", ["a", "c"])
async def test_who_says_nothing_stops_nobody(autojump_clock: MockClock, liar: str) -> None:
    async with open_group(engines={liar: Silent}) as group:
        others = "".join(one for one in ABCD if one != liar)
        await _load(group, others, 5)
        assert len(await group.agree(others)) == 15


async def test_a_state_that_was_not_certified_is_not_taken(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BftSettings(voters=ABCD, checkpoint=20, memory=1)
    gives = States._send

    def give(self: States, to: str, chunk: Message) -> None:
        if self._node.engine.name == "a" and isinstance(chunk, Chunk):
            chunk = corrupted(chunk)
        gives(self, to, chunk)

    monkeypatch.setattr(States, "_send", give)
    async with open_group(settings=settings) as group:
        await group.stop("d")
        for number in range(60):
            await group["b"].propose(b"%d" % number)
        await trio.sleep(2)
        for name in "abc":
            await group[name].compact(group[name].status()["commit"])
        await trio.sleep(1)
        for name in "bc":  # it hears "a" alone at first
            group.network.cut |= {(name, "d"), ("d", name)}
        await group.start("d", MemoryLog("d"))
        with trio.fail_after(60):
            while not group["d"].status()["bad_snapshots"]:
                await group["d"].wait_moved()
        group.network.heal()
        assert len(await group.agree()) == 60
        assert group["d"].status()["bad_snapshots"].keys() == {"a"}
