"""`etcd`, on a real one: one order for all, exactly once, snapshots, restarts."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Generator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
import trio

from flow_storage.memory import MemoryLog
from flowcore.errors import (
    InvalidArguments,
    OutcomeUnknown,
    StateUnavailable,
    TooLarge,
    TooOld,
    UntrustedFile,
)
from flowcore.state import (
    Installed,
    OpenSession,
    PutPattern,
    PutPatterns,
    StateSettings,
    open_state,
)
from flowcore.testing import Trial, check_plugin
from support.etcds import Etcds, open_etcds, text
from support.keeping import keeping, note
from support.on_etcd import new_prefix, on_etcd, read


@pytest.fixture(scope="module")
def etcd() -> Generator[Etcds]:
    with open_etcds(1, "--unsafe-no-fsync") as one:
        yield one


async def test_holds_to_its_interface(etcd: Etcds) -> None:
    trial = Trial(
        settings={"endpoints": list(etcd.urls), "patience": "2m"},
        own=lambda number: {"prefix": f"kit/{number}/"},
        within=300,
    )
    report = await check_plugin("flow_consensus.etcd", {"etcd": trial})
    assert len(report.checked["consensus etcd"]) > 12


async def test_three_nodes_share_one_order(etcd: Etcds) -> None:
    prefix = new_prefix()
    names = ("alpha", "beta", "gamma")
    taken: dict[int, bytes] = {}
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(on_etcd(*etcd.urls, prefix=prefix, name=name))
            for name in names
        ]

        async def propose(number: int) -> None:
            for turn in range(20):
                command = b"%d.%d" % (number, turn)
                position = await nodes[number % 3].propose(command)
                assert position not in taken
                taken[position] = command

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(propose, number)
        last = max(taken)
        assert len({await one.read_barrier() for one in nodes}) == 1
        expected = [taken[position] for position in range(1, last + 1)]
        for one in nodes:
            assert await read(one, last) == expected
        assert sum(one.status()["conflicts"] for one in nodes) > 0
        assert {one.identity for one in nodes} == {nodes[0].identity}


async def test_a_state_is_the_same_on_two_nodes_and_a_session_acts_once(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix = new_prefix()
    async with AsyncExitStack() as stack:
        states = []
        for name in ("alpha", "beta"):
            node = await stack.enter_async_context(on_etcd(*etcd.urls, prefix=prefix, name=name))
            path = tmp_path / name
            states.append(await stack.enter_async_context(open_state(node, path)))
        one, other = states
        session = (await one.do(OpenSession("client"))).session
        put = PutPatterns((PutPattern(namespace="n", expert="e", text="t", weight=1.0),))
        first = await one.do(put, session=session, sequence=1)
        again = await other.do(put, session=session, sequence=1)
        assert again == first
        (found,) = (await other.list_patterns("n")).patterns
        assert found.weight == 1.0
        assert (await one.list_patterns("n")).patterns == (found,)


async def test_what_is_too_large_is_refused_and_the_rest_is_not(etcd: Etcds) -> None:
    async with on_etcd(*etcd.urls, prefix=new_prefix(), command_size=4096) as node:
        with pytest.raises(TooLarge, match="4097 bytes, more than 4096"):
            await node.propose(b"x" * 4097)
        with pytest.raises(InvalidArguments, match="empty"):
            await node.propose(b"")
        assert await node.propose(b"x" * 4096) == 1
    async with on_etcd(*etcd.urls, prefix=new_prefix()) as node:
        largest = node._settings.command_size
        with pytest.raises(TooLarge, match=f"more than {largest}"):
            await node.propose(bytes(largest + 1))
        assert await node.propose(bytes(largest)) == 1  # this etcd has its defaults
        assert await read(node, 1) == [bytes(largest)]
    # its own limit is more than this etcd takes
    async with on_etcd(*etcd.urls, prefix=new_prefix(), command_size=2**23) as node:
        with pytest.raises(TooLarge, match="max-request-bytes"):
            await node.propose(b"x" * 2**21)
        assert await node.propose(b"y") == 1


async def test_a_newcomer_and_a_latecomer_begin_with_the_snapshot(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix = new_prefix()
    more: dict[str, Any] = {"prefix": prefix, "snapshot_every": 10, "keep": 3, "command_size": 4096}
    compacting = StateSettings(compact_after=5)
    late = MemoryLog("late")
    async with (
        on_etcd(*etcd.urls, name="late", storage=late, **more) as node,
        open_state(node, tmp_path / "late") as state,
    ):
        await state.do(note("a", "first"))
    async with (
        on_etcd(*etcd.urls, **more) as node,
        open_state(node, tmp_path / "alpha", compacting) as state,
    ):
        for number in range(60):
            await state.do(note(f"k{number % 40}", "x" * 300 + str(number)))
        with trio.fail_after(20):
            while node.status()["snapshots_stored"] < 3:
                await state.do(note("a", "again"))
        expected = b"".join([one async for one in state.snapshot()])
        position = state.position
        async with (
            on_etcd(*etcd.urls, name="new", **more) as newcomer,
            open_state(newcomer, tmp_path / "new") as copy,
        ):
            await copy.pattern("notes", "a")
            assert newcomer.status()["snapshots_installed"] >= 1
            assert copy.position == position
            assert b"".join([one async for one in copy.snapshot()]) == expected
            await copy.do(note("b", "of the newcomer"))
            found = await state.pattern("notes", "b")
            assert found is not None
            assert found.text == "of the newcomer"
    async with (
        on_etcd(*etcd.urls, name="late", storage=late, **more) as node,
        open_state(node, tmp_path / "late") as state,
    ):
        assert await state.pattern("notes", "b") == found
        assert node.status()["snapshots_installed"] >= 1
    kept = etcd.get(prefix.encode())
    names = {key.split(b"/")[3] for key in kept if b"/snapshot/" in key}
    base = json.loads(kept[f"{prefix}base".encode()])
    assert base["snapshot"].encode() in names
    assert len(names) <= 2  # one that was under way when its node ended
    async with on_etcd(*etcd.urls, name="new", **more) as node:
        with pytest.raises(TooOld, match="entry 1 is not kept any more"):
            await node.entries(1, 5)
        begins = node.status()["storage"]["first"]
        assert (await node.entries(begins, 1))[0].position == begins
    log = sorted(key for key in kept if b"/log/" in key)
    assert int(log[0].rpartition(b"/")[2], 16) > 30


async def test_a_snapshot_that_is_too_large_is_said_and_the_log_kept(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    more: dict[str, Any] = {
        "prefix": new_prefix(),
        "snapshot_every": 5,
        "keep": 0,
        "snapshot_most": 1024,
    }
    async with (
        on_etcd(*etcd.urls, **more) as node,
        open_state(node, tmp_path / "state", StateSettings(compact_after=5)) as state,
    ):
        with trio.fail_after(20):
            while not node.status()["snapshot_trouble"]:
                await state.do(note("a", "x" * 1000))
        assert "larger than `snapshot_most`, 1024 bytes" in node.status()["snapshot_trouble"]
        assert len(await read(node, state.position)) == state.position


async def test_a_damaged_snapshot_and_a_gap_are_refused(
    etcd: Etcds, tmp_path: pathlib.Path
) -> None:
    prefix = new_prefix()
    more: dict[str, Any] = {"prefix": prefix, "snapshot_every": 5, "keep": 0}
    async with (
        on_etcd(*etcd.urls, **more) as node,
        open_state(node, tmp_path / "state", StateSettings(compact_after=5)) as state,
    ):
        with trio.fail_after(20):
            while not node.status()["snapshots_stored"]:
                await state.do(note("a", "again"))
    base = f"{prefix}base".encode()
    piece = f"{prefix}snapshot/{json.loads(etcd.get(base)[base])['snapshot']}/00000000".encode()
    whole = etcd.get(piece)[piece]
    for wrong in (whole[:-1], whole[:100] + b"!" + whole[101:]):
        etcd.put(piece, wrong)
        async with on_etcd(*etcd.urls, **more) as node, aclosing(node.committed(0)) as stream:
            with pytest.raises(UntrustedFile, match="damaged: its checksum"):
                await anext(stream)
    etcd.delete(piece)
    async with on_etcd(*etcd.urls, **more) as node, aclosing(node.committed(0)) as stream:
        with pytest.raises(UntrustedFile, match="piece 0 of the snapshot is gone"):
            await anext(stream)
    etcd.put(piece, whole)
    revision = etcd.ask("/v3/kv/range", {"key": text(piece)})["header"]["revision"]
    etcd.ask("/v3/kv/compaction", {"revision": revision})  # history is not needed
    async with on_etcd(*etcd.urls, **more) as node, aclosing(node.committed(0)) as stream:
        assert isinstance(await anext(stream), Installed)
    async with on_etcd(*etcd.urls, prefix=prefix) as node:
        positions = [await node.propose(b"%d" % number) for number in range(4)]
    etcd.delete(f"{prefix}log/{positions[1]:016x}".encode())
    async with on_etcd(*etcd.urls, prefix=prefix) as node:
        for after in (positions[0] - 1, positions[0]):
            with pytest.raises(UntrustedFile, match="gone from etcd"):
                await read(node, positions[3], after)


async def _refused(etcd: Etcds, prefix: str, storage: MemoryLog, why: str) -> None:
    """A node that has met the log before says why it does not go on with this."""
    async with on_etcd(*etcd.urls, prefix=prefix, storage=storage) as node:
        with trio.fail_after(20):
            async with aclosing(node.committed(0)) as stream:
                with pytest.raises(UntrustedFile, match=why):
                    await anext(stream)
        with pytest.raises(StateUnavailable, match=why):
            await node.propose(b"nothing")
        with pytest.raises(StateUnavailable, match=why):
            await node.read_barrier()


async def test_another_log_or_an_older_copy_is_not_taken_for_the_one_that_was(etcd: Etcds) -> None:
    prefix, storage = new_prefix(), MemoryLog("mine")
    async with on_etcd(*etcd.urls, prefix=prefix, storage=storage) as node:
        for number in range(5):
            await node.propose(b"%d" % number)
    before = etcd.get(prefix.encode())
    head, meta = f"{prefix}head".encode(), f"{prefix}meta".encode()
    etcd.put(head, b'{"last":3,"batch":""}')
    await _refused(etcd, prefix, storage, "ends at 3, and 5 was committed")
    etcd.put(head, b"{}")
    await _refused(etcd, prefix, storage, "damaged")
    etcd.put(head, before[head])
    etcd.put(meta, b'{"format":1,"identity":"another"}')
    await _refused(etcd, prefix, storage, "has log another, and this node has followed")
    etcd.put(meta, b'{"format":2,"identity":"another"}')
    await _refused(etcd, prefix, storage, "made by a newer flowcore")
    etcd.delete(meta)
    await _refused(etcd, prefix, storage, "is gone from etcd")
    etcd.delete(head)
    await _refused(etcd, prefix, storage, "etcd has nothing")
    for key, value in before.items():
        etcd.put(key, value)
    async with on_etcd(*etcd.urls, prefix=prefix, storage=storage) as node:
        assert await read(node, 5) == [b"%d" % number for number in range(5)]
    with pytest.raises(UntrustedFile, match="belongs to the log under"):
        async with on_etcd(*etcd.urls, prefix="other/", storage=storage):
            raise AssertionError


@pytest.mark.parametrize("others", [1, 2])
async def test_a_log_that_was_put_back_and_went_on_is_not_followed(
    etcd: Etcds, others: int
) -> None:
    """As an etcd that is restored from an older copy has it, once others have written."""
    prefix, storage = new_prefix(), MemoryLog("mine")
    head = f"{prefix}head".encode()
    async with on_etcd(*etcd.urls, prefix=prefix, storage=storage) as node:
        for number in range(3):
            await node.propose(b"%d" % number)
        older = etcd.get(head)[head]
        await node.propose(b"seen")
    etcd.delete(f"{prefix}log/{4:016x}".encode())
    etcd.put(head, older)
    async with on_etcd(*etcd.urls, prefix=prefix, name="other") as other:
        for number in range(others):
            assert await other.propose(b"another") == 4 + number
    await _refused(etcd, prefix, storage, "entry 4 .* is not the one that was there before")


async def test_the_log_of_another_engine_is_refused(etcd: Etcds) -> None:
    async with keeping(None) as kept:
        await kept.state.do(note("a"))
        with pytest.raises(UntrustedFile, match="the log of another engine than 'etcd'"):
            async with on_etcd(*etcd.urls, prefix=new_prefix(), storage=kept.storage):
                raise AssertionError


async def test_what_is_removed_while_it_runs_stops_it(etcd: Etcds) -> None:
    prefix = new_prefix()
    async with on_etcd(*etcd.urls, prefix=prefix) as node:
        await node.propose(b"a")
        etcd.delete(prefix.encode(), prefix[:-1].encode() + b"0")
        with pytest.raises(
            (StateUnavailable, OutcomeUnknown), match="somebody has removed the log"
        ):  # unknown where another task has found it out while this was on its way
            await node.propose(b"b")
        with pytest.raises(StateUnavailable, match="somebody has removed the log"):
            await node.propose(b"c")
        async with aclosing(node.committed(1)) as stream:
            with pytest.raises(UntrustedFile, match="somebody has removed the log"):
                await anext(stream)


async def test_the_log_can_be_shown(etcd: Etcds) -> None:
    async with on_etcd(*etcd.urls, prefix=new_prefix()) as node:
        assert await node.entries(1, 10) == []
        for number in range(5):
            await node.propose(b"%d" % number)
        shown = await node.entries(2, 3)
        assert [(one.position, one.data, one.committed) for one in shown] == [
            (2, b"1", True),
            (3, b"2", True),
            (4, b"3", True),
        ]
        assert len(await node.entries(5, 10)) == 1
        assert await node.entries(6, 10) == []
        assert node.status()["commit_seconds"]["count"] == 5


async def test_voters_are_etcds_own(etcd: Etcds) -> None:
    async with on_etcd(*etcd.urls, prefix=new_prefix()) as node:
        with pytest.raises(StateUnavailable, match="etcdctl member"):
            await node.change_voters(add=["beta"])
