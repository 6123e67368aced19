"""Nodes over real files: what was promised and acknowledged is there when they start again."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest
import trio

from flow_consensus.bft import BftSettings, Engine, Restored
from flow_storage.memory import MemoryLog
from flowcore.errors import UntrustedFile
from flowcore.state import (
    LogEntry,
    PutPattern,
    PutPatterns,
    SnapshotInfo,
    Storage,
    open_state,
)
from support.bft.keys import Signer, genesis
from support.bft.nodes import ABCD, open_group
from support.bft.table import Table
from support.keeping import open_storage

CALM = BftSettings(
    voters=ABCD,
    view_timeout=5.0,
    vote_timeout=1.0,
    patience=20.0,
    outcome=60.0,
    overdue=10.0,
    checkpoint=20,
    memory=1,
)
"""For a busy machine: no leader is taken for lost because it had to wait for the processor."""


async def test_what_was_acknowledged_is_there_again(tmp_path: pathlib.Path) -> None:
    taken: dict[int, bytes] = {}
    for life in range(3):
        async with AsyncExitStack() as stack:
            storages = {
                name: await stack.enter_async_context(open_storage(tmp_path / name))
                for name in ABCD
            }
            async with open_group(settings=CALM, storages=storages) as group:

                async def one(number: int, life: int = life, group: object = group) -> None:
                    command = b"%d.%d" % (life, number)
                    taken[await group[ABCD[number % 4]].propose(command)] = command  # type: ignore[index]

                async with trio.open_nursery() as nursery:
                    for number in range(40):
                        nursery.start_soon(one, number)
                commands = await group.agree()
                assert commands == [taken[at] for at in sorted(taken)]


async def test_a_state_stands_on_it_and_moves_to_a_node_with_an_empty_disk(
    tmp_path: pathlib.Path,
) -> None:
    """Four states say the same; one that has lost its disk takes a certified state from the others."""
    async with AsyncExitStack() as stack:
        storages: dict[str, Storage] = {
            name: await stack.enter_async_context(open_storage(tmp_path / name)) for name in "abc"
        }
        group = await stack.enter_async_context(
            open_group(settings=CALM, storages=storages, follow=False, only="abc")
        )
        states = {}
        for name in "abc":
            path = tmp_path / name / "state.sqlite"
            states[name] = await stack.enter_async_context(open_state(group[name], path))
        for number in range(40):
            pattern = PutPattern(namespace="n", key=f"{number}", text=f"text {number}")
            await states["abc"[number % 3]].do(PutPatterns((pattern,)))
        for name in "abc":
            while not group[name].status()["checkpoint"]:
                await group[name].wait_moved()
            found = await states[name].pattern("n", "39")
            assert found is not None
            await states[name]._compact()
        while not all(storages[name].compacted[0] for name in "abc"):  # noqa: ASYNC110
            await trio.sleep(0.01)
        async with open_storage(tmp_path / "d") as fresh:
            await group.start("d", fresh)
            path = tmp_path / "d" / "state.sqlite"
            async with open_state(group["d"], path) as state:
                found = await state.pattern("n", "7")
                assert found is not None
                assert found.text == "text 7"
                assert group["d"].status()["snapshots"]["taken"]["count"] == 1
                pieces = [
                    b"".join([piece async for piece in one.snapshot()])
                    for one in (state, states["a"])
                ]
                assert pieces[0] == pieces[1]
            await group.stop("d")


async def test_nodes_that_begin_with_a_snapshot_are_a_new_cluster_of_the_configured_voters() -> (
    None
):
    """As `flowctl snapshot restore` leaves them, of whatever engine the snapshot was."""
    storages: dict[str, Storage] = {}

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"".join(b"\n%d" % number for number in range(1, 71))

    for name in ABCD:
        storages[name] = MemoryLog(name)
        await storages[name].save_snapshot(SnapshotInfo(position=70, term=9), pieces())
        await storages[name].reset(70, 9)
    async with open_group(settings=CALM, storages=storages) as group:
        assert await group["b"].propose(b"next") == 72  # after the head of its block
        assert (await group.agree())[-1] == b"next"
        assert all(one.installed == [70] for one in group.running.values())
        assert group["a"].engine.standing.height == 10
    assert genesis(ABCD).cluster("test", 70) != genesis(ABCD).cluster("test")


def test_the_memory_of_another_or_a_damaged_one_is_refused() -> None:
    table = Table()
    table["a"].propose([b"one"])
    table.settle()
    table.tick(20)
    disk = table.seats["a"].disk
    first = genesis(ABCD)
    for node, cluster, hard_state, why in (
        ("b", "test", disk.hard_state, "the log is of node 'a', and this is 'b'"),
        ("a", "other", disk.hard_state, "the log is of cluster 'test', and this is 'other'"),
        ("a", "test", b"\xc1", "cannot be read"),
        ("a", "test", disk.hard_state[:-3], "cannot be read"),
        ("a", "test", b"\x98\x02" + disk.hard_state[2:], "of version 2"),
    ):
        with pytest.raises(UntrustedFile, match=why):
            Restored(first, cluster, hard_state, node=node)
    with pytest.raises(UntrustedFile, match="the log begins after 9, and 2 was decided"):
        Restored(first, "test", disk.hard_state, (9, 3), node="a")
    with pytest.raises(UntrustedFile, match="the log begins after 9, and 0 was decided"):
        Restored(first, "test", b"", (9, 3), node="a")


def test_a_lock_without_its_block_is_refused() -> None:
    table = Table()
    table.drop = lambda sender, to, message: to == "a" and table["a"].locked_view >= 0
    table["a"].propose([b"one"])
    table.settle()
    assert table["a"].locked_view == 0
    disk = table.seats["a"].disk
    assert disk.entries
    restored = Restored(genesis(ABCD), "test", disk.hard_state, node="a")
    with pytest.raises(UntrustedFile, match="is not in the log: its end is lost"):
        Engine("a", restored, Signer("a"))
    restored = Restored(genesis(ABCD), "test", disk.hard_state, node="a")
    restored.add([LogEntry(one.position, one.term, one.data) for one in disk.entries])
    assert Engine("a", restored, Signer("a")).locked_view == 0
