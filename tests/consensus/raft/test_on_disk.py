"""Nodes over real files: what was acknowledged is there when all of them start again."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest
import trio

from flow_consensus.raft.driver.settings import RaftSettings
from flow_storage.memory import MemoryLog
from flow_storage.sqlite import SqliteStorage
from flowcore.errors import StateUnavailable
from flowcore.state import PutPattern, PutPatterns, ReadLevel, SnapshotInfo, Storage, open_state
from support.keeping import open_storage
from support.raft.nodes import open_group

ABC = ("a", "b", "c")
CALM = RaftSettings(election=1.0, heartbeat=0.1, patience=20.0, keep=10)
"""For a busy machine: no leader is taken for lost because it had to wait for the processor."""


async def test_what_was_acknowledged_is_there_again(tmp_path: pathlib.Path) -> None:
    taken: dict[int, bytes] = {}
    for life in range(3):
        async with AsyncExitStack() as stack:
            storages = {
                name: await stack.enter_async_context(open_storage(tmp_path / name)) for name in ABC
            }
            async with open_group(ABC, CALM, storages=storages) as group:

                async def one(number: int, life: int = life, group: object = group) -> None:
                    command = b"%d.%d" % (life, number)
                    taken[await group[ABC[number % 3]].propose(command)] = command  # type: ignore[index]

                async with trio.open_nursery() as nursery:
                    for number in range(60):
                        nursery.start_soon(one, number)
                commands = await group.agree()
                assert commands == [taken[at] for at in sorted(taken)]
                storage = storages["a"]
                assert isinstance(storage, SqliteStorage)
                assert storage.status()["commits"] < 60  # many commands share an fsync


async def test_a_state_stands_on_it_and_moves_to_a_new_node(tmp_path: pathlib.Path) -> None:
    """Three states say the same; a fourth node, that has nothing, gets a snapshot of the state."""
    async with AsyncExitStack() as stack:
        storages = {
            name: await stack.enter_async_context(open_storage(tmp_path / name)) for name in "abcd"
        }
        voting = {name: storages[name] for name in ABC}
        group = await stack.enter_async_context(
            open_group(ABC, CALM, storages=voting, follow=False)
        )
        states = {}
        for name in ABC:
            path = tmp_path / name / "state.sqlite"
            states[name] = await stack.enter_async_context(open_state(group[name], path))
        for number in range(40):
            pattern = PutPattern(namespace="n", key=f"{number}", text=f"text {number}")
            await states[ABC[number % 3]].do(PutPatterns((pattern,)))
        for name in ABC:
            found = await states[name].pattern("n", "39")
            assert found is not None
            assert found.text == "text 39"
            await states[name]._compact()
        leader = await group.leader()
        while not storages[leader].compacted[0]:  # noqa: ASYNC110
            await trio.sleep(0.01)
        await group.start("d", storages["d"], joins=True)
        await group["a"].change_voters(add=["d"])
        await group["a"].change_voters(promote=["d"])
        path = tmp_path / "d" / "state.sqlite"
        fresh = await stack.enter_async_context(open_state(group["d"], path))
        found = await fresh.pattern("n", "7")
        assert found is not None
        assert found.text == "text 7"
        pieces = [
            b"".join([piece async for piece in one.snapshot()]) for one in (fresh, states["a"])
        ]
        assert pieces[0] == pieces[1]


async def test_one_of_three_opens_alone(tmp_path: pathlib.Path) -> None:
    """Without the others there is no leader: what is there can be read, marked stale, and nothing else."""
    hasty = RaftSettings(patience=0.3)
    async with AsyncExitStack() as stack:
        storages = {
            name: await stack.enter_async_context(open_storage(tmp_path / name)) for name in ABC
        }
        path = tmp_path / "a" / "state.sqlite"
        async with open_group(ABC, CALM, storages=storages, follow=False) as group:
            async with open_state(group["a"], path) as state:
                await state.do(PutPatterns((PutPattern(namespace="n", key="k", text="kept"),)))
        alone = open_group(ABC, hasty, storages={"a": storages["a"]}, follow=False, only=("a",))
        async with alone as group, open_state(group["a"], path) as state:
            found = await state.pattern("n", "k", level=ReadLevel.STALE)
            assert found is not None
            assert found.text == "kept"
            with pytest.raises(StateUnavailable, match="no leader"):
                await state.pattern("n", "k")
            with pytest.raises(StateUnavailable, match="no leader"):
                await state.do(PutPatterns((PutPattern(namespace="n", key="k", text="no"),)))


async def test_nodes_that_begin_with_a_snapshot_are_a_new_cluster_of_the_configured_voters() -> (
    None
):
    """As `flowctl snapshot restore` leaves them: a snapshot that says nothing of who the voters are."""
    storages: dict[str, Storage] = {}

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"the state"

    for name in ABC:
        storages[name] = MemoryLog(name)
        await storages[name].save_snapshot(SnapshotInfo(position=700, term=9), pieces())
        await storages[name].reset(700, 9)
    async with open_group(ABC, CALM, storages=storages) as group:
        leader = await group.leader()
        assert await group[leader].propose(b"next") == 702  # after what a leader begins with
        assert await group.agree() == [b"next"]
        assert group[leader].engine.term > 9
        assert all(one.installed == [(700, [b"the state"])] for one in group.running.values())
        await group.start("d", joins=True)
        await group[leader].change_voters(add=["d"])
        await group.agree()
        await group[leader].change_voters(promote=["d"], remove=["a"])
        assert group["d"].status()["voters"] == ["b", "c", "d"]
