"""Nodes of a bft cluster under trio, over logs in memory and a network that can be cut, on the mock clock."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from flow_consensus.bft import TooFewVoters
from flow_consensus.bft.driver.settings import BftSettings
from flow_storage.memory import MemoryLog
from flowcore.errors import (
    InvalidArguments,
    OutcomeUnknown,
    StateUnavailable,
)
from support.bft.nodes import ABCD, Group, open_group


def test_three_nodes_are_refused_with_the_reason() -> None:
    with pytest.raises(TooFewVoters, match=r"3 voters cannot outvote one.*N >= 3f \+ 1.*'raft'"):
        BftSettings(voters=("a", "b", "c"))


async def test_all_see_what_any_of_them_proposes(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        taken: dict[int, bytes] = {}

        async def one(name: str, number: int) -> None:
            command = b"%s %d" % (name.encode(), number)
            position = await group[name].propose(command)
            assert position not in taken
            taken[position] = command

        async with trio.open_nursery() as nursery:
            for number in range(80):
                nursery.start_soon(one, ABCD[number % 4], number)
        assert sorted(await group.agree()) == sorted(taken.values())
        for entry in group.running["a"].seen:
            assert entry.data == taken.get(entry.position, b"")
        status = group["a"].status()
        assert status["height"] > 0
        assert status["leader"] == "a"
        assert status["role"] == "leader"
        assert status["quorum"] == 3
        assert status["evidence"] == {}
        assert sum(group[name].status()["proposals"] for name in ABCD) == 80


async def test_one_of_four_may_be_gone_even_the_leader(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        await group["b"].propose(b"before")
        leader = group["b"].status()["leader"]
        await group.stop(leader)
        others = [one for one in ABCD if one != leader]
        began = trio.current_time()
        await group[others[0]].propose(b"meanwhile")
        assert trio.current_time() - began < 1.5
        assert group[others[0]].status()["leader"] != leader
        began = trio.current_time()
        await group[others[1]].propose(b"and at once, for the next leader stays")
        assert trio.current_time() - began < 0.5
        await group.start(leader)
        await group[leader].propose(b"after")
        assert (await group.agree())[-1] == b"after"


async def test_without_a_quorum_nothing_is_decided_and_it_is_said(
    autojump_clock: MockClock,
) -> None:
    async with open_group() as group:
        await group["a"].propose(b"one")
        group.network.isolate("a", "b")
        await trio.sleep(2)
        began = trio.current_time()
        with pytest.raises(StateUnavailable, match="2 of 4 voters can be heard, and 3 have to"):
            await group["a"].propose(b"never sent")
        assert trio.current_time() - began < 1
        with pytest.raises(StateUnavailable, match="c, d cannot be reached"):
            await group["a"].read_barrier()
        group.network.heal()
        await trio.sleep(1)
        await group["d"].propose(b"two")
        assert await group.agree() == [b"one", b"two"]


async def test_what_was_asked_before_a_cut_is_unknown(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        await group["a"].propose(b"one")
        group.network.isolate("a")
        with pytest.raises(OutcomeUnknown, match="it may be committed"):
            await group["a"].propose(b"asked, and heard by nobody")
        group.network.heal()
        # it was signed, and is told again until it is decided
        await group["b"].propose(b"two")
        await trio.sleep(3)
        assert sorted(await group.agree()) == [b"asked, and heard by nobody", b"one", b"two"]


async def test_a_read_misses_nothing_that_was_acknowledged(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        for number in range(10):
            name, other = ABCD[number % 4], ABCD[(number + 1) % 4]
            position = await group[name].propose(b"%d" % number)
            assert await group[other].read_barrier() >= position
            assert await group[other].read_barrier(leased=True) >= position


async def test_who_was_away_catches_up_by_blocks(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        await group.stop("d")
        for number in range(30):
            await group["b"].propose(b"%d" % number)
        await group.start("d")
        assert len(await group.agree()) == 30
        assert group.running["d"].installed == []


async def test_who_was_away_for_long_takes_a_certified_state(autojump_clock: MockClock) -> None:
    settings = BftSettings(voters=ABCD, checkpoint=20, memory=1)
    async with open_group(settings=settings) as group:
        await group["a"].propose(b"first")
        await group.stop("d")
        for number in range(60):
            await group["b"].propose(b"%d" % number)
        await trio.sleep(2)
        for name in "abc":
            assert group[name].status()["checkpoint"] > 0
            await group[name].compact(group[name].status()["commit"])
        await trio.sleep(1)
        assert all(group.storages[name].compacted[0] > 20 for name in "abc")
        await group.start("d", MemoryLog("d"))  # with an empty disk
        await group["b"].propose(b"last")
        assert len(await group.agree()) == 62
        assert group.running["d"].installed
        assert group["d"].status()["bad_snapshots"] == {}


async def test_a_restart_forgets_nothing(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        for number in range(10):
            await group["a"].propose(b"%d" % number)
        for name in ABCD:
            await group.stop(name)
        for name in ABCD:
            await group.start(name)
        await group["c"].propose(b"after")
        assert await group.agree() == [*(b"%d" % number for number in range(10)), b"after"]


async def _change(group: Group, names: str, **change: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        for name in names:

            async def want(name: str = name) -> None:
                await group[name].change_voters(**change)

            nursery.start_soon(want)


async def test_a_voter_is_added_by_the_word_of_two(autojump_clock: MockClock) -> None:
    async with open_group() as group:
        await group["a"].propose(b"one")
        with pytest.raises(StateUnavailable, match="it takes 2 voters.*a want it so far"):
            await group["a"].change_voters(add=["e"])
        with pytest.raises(InvalidArguments, match="add them first"):
            await group["a"].change_voters(promote=["x"])
        await group["b"].change_voters(add=["e"])
        assert group["b"].status()["learners"] == ["e"]
        await group.start("e")
        assert await group.agree() == [b"one"]
        assert group["e"].status()["role"] == "learner"
        await group["e"].propose(b"a learner asks, too")
        await _change(group, "ab", promote=["e"], remove=["d"])
        assert group["e"].status()["voters"] == ["a", "b", "c", "e"]
        await group.stop("d")
        await group["e"].propose(b"two")
        assert (await group.agree())[-1] == b"two"
        with pytest.raises(InvalidArguments, match="3 voters cannot outvote"):
            await group["a"].change_voters(remove=["e"])
