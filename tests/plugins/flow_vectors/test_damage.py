"""Files that are damaged, missing, another's, or cannot be written: nothing is guessed, nothing lost."""

from __future__ import annotations

import logging
import pathlib
import resource
import shutil
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import pytest

from flow_vectors.local.opening import LocalIndexes
from flowcore.assembly import Status
from flowcore.errors import DamagedState, RoutingError
from flowcore.routing import VectorIndex
from support.indexes import MAKERS, ids, local, space, vectors

COUNT = 11


async def saved(indexes: LocalIndexes) -> None:
    """An index of eleven vectors, some in a segment, some in front of it."""
    async with indexes.open_index("a", space()) as index:
        await index.add(np.arange(9), vectors(9, 1))
        await index.settle()
        await index.add(ids(20, 21, 22), vectors(3, 2))
        await index.remove(ids(0))
        await index.save(7)


async def is_as_saved(index: VectorIndex) -> None:
    for number, vector in ((3, vectors(9, 1)[3]), (21, vectors(3, 2)[1])):
        hits = await index.search(vector, 1)
        assert hits.ids.tolist() == [number]
        assert hits.scores[0] == pytest.approx(1.0, abs=1e-5)
    assert len((await index.search(vector, 50)).ids) == COUNT


@pytest.mark.parametrize("kind", MAKERS)
async def test_each_byte_that_is_damaged_is_noticed(
    kind: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    await saved(local(kind, tmp_path))
    folder, kept = tmp_path / "a", tmp_path / "kept"
    shutil.copytree(folder, kept)
    empty = rebuilt = 0
    for path in sorted(kept.iterdir()):
        whole = path.read_bytes()
        small = path.suffix != ".graph"  # of what a library writes, some bytes
        for place in range(0, len(whole), 1 if small else max(1, len(whole) // 20)):
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            damaged = bytearray(whole)
            damaged[place] ^= 0x40
            (folder / path.name).write_bytes(damaged)
            async with local(kind, tmp_path).open_index("a", space()) as index:
                if path.suffix in (".graph", ".seal"):
                    assert (index.count, index.position) == (COUNT, 7)
                    await is_as_saved(index)
                    rebuilt += 1
                else:
                    assert (index.count, index.position) == (0, 0), (path.name, place)
                    assert "empty: " in index.status()["opened"]
                    empty += 1
    assert empty > 500
    assert bool(rebuilt) == (kind != "exact")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("what", ["cut", "longer", "missing"])
async def test_files_of_another_length_are_noticed(
    kind: str, what: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    await saved(local(kind, tmp_path))
    folder, kept = tmp_path / "a", tmp_path / "kept"
    shutil.copytree(folder, kept)
    for path in sorted(kept.iterdir()):
        whole = path.read_bytes()
        for length in sorted({0, 7, len(whole) - 1}):
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            target = folder / path.name
            if what == "missing":
                target.unlink()
            else:
                target.write_bytes(whole[:length] if what == "cut" else whole + whole[: length + 1])
            caplog.clear()
            async with local(kind, tmp_path).open_index("a", space()) as index:
                if path.suffix in (".graph", ".seal"):
                    assert (index.count, index.position) == (COUNT, 7)
                    await index.settle()
                    await is_as_saved(index)
                    continue
                assert (index.count, index.position) == (0, 0)
                if (what, path.name) != ("missing", "state"):
                    assert "must be filled again" in caplog.text
                await index.add(np.arange(9), vectors(9, 1))
                await index.add(ids(20, 21, 22), vectors(3, 2))
                await index.remove(ids(0))
                await index.save(7)
            async with local(kind, tmp_path).open_index("a", space()) as index:
                assert index.position == 7
                await is_as_saved(index)


@contextmanager
def no_file_longer_than(size: int) -> Generator[None]:
    """Writes beyond a size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_full_disk_loses_nothing(kind: str, tmp_path: pathlib.Path) -> None:
    await saved(local(kind, tmp_path))
    indexes = local(kind, tmp_path, front=10_000, spill=10_000)
    async with indexes.open_index("a", space()) as index:
        await index.settle()
        before = sorted(path.name for path in (tmp_path / "a").iterdir())
        await index.add(np.arange(100, 400), vectors(300, 3))
        with no_file_longer_than(4096), pytest.raises(OSError, match="File too large"):
            await index.save(8)
        assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before
        assert (index.count, index.position) == (COUNT + 300, 7)
        assert (await index.search(vectors(300, 3)[5], 1)).ids.tolist() == [105]
    async with indexes.open_index("a", space()) as index:
        assert index.position == 7
        await is_as_saved(index)
        await index.add(np.arange(100, 400), vectors(300, 3))
        await index.save(8)
    async with indexes.open_index("a", space()) as index:
        assert (index.count, index.position) == (COUNT + 300, 8)


@pytest.mark.parametrize("kind", MAKERS)
async def test_what_cannot_be_written_in_the_background_stays_in_memory(
    kind: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    heard: list[tuple[Status, str]] = []
    indexes = local(kind, tmp_path, report=lambda *told: heard.append(told))
    async with indexes.open_index("a", space()) as index:
        with no_file_longer_than(1024):
            await index.add(np.arange(300), vectors(300, 3))
            while not index.status()["failed"]:
                await index.tending._next()
            assert (await index.search(vectors(300, 3)[5], 1)).ids.tolist() == [5]
            await index.add(np.arange(300, 600), vectors(300, 4))  # and it does not wait for room
            assert index.count == 600
        told = "of the index a, the front cannot be written away: File too large"
        assert heard == [(Status.DEGRADED, told)]
        await index.settle()  # it is tried again
        assert heard[1:] == [(Status.OK, "")]
        assert not index.status()["failed"]
        assert index.status()["sealed"]
        assert "cannot be" in caplog.text
        assert (await index.search(vectors(300, 4)[5], 1)).ids.tolist() == [305]


async def test_an_index_is_open_once(tmp_path: pathlib.Path) -> None:
    indexes = local("exact", tmp_path)
    async with indexes.open_index("a", space()):
        with pytest.raises(RoutingError, match="'a' is open"):
            async with indexes.open_index("a", space()):
                pass
        with pytest.raises(RoutingError, match="'a' is open"):
            await indexes.discard("a")
    async with indexes.open_index("a", space()):
        pass


async def test_a_rows_file_of_another_index_is_noticed(tmp_path: pathlib.Path) -> None:
    from flow_vectors.local import files

    await saved(local("exact", tmp_path))
    (rows,) = (tmp_path / "a").glob("*.rows")
    with files.writing(rows, {}, [("ids", "<i8", (1,)), ("rows", "<f4", (1, 8))]) as writer:
        writer.put(np.array([1]))
        writer.put(np.zeros((1, 8), dtype=np.float32))
    async with local("exact", tmp_path).open_index("a", space()) as index:
        assert index.count == 0
        assert "1 rows" in index.status()["opened"]


def test_an_announced_file_must_come_whole(tmp_path: pathlib.Path) -> None:
    from flow_vectors.local import files

    with pytest.raises(ValueError, match="0 bytes were written, 8 announced"):
        with files.writing(tmp_path / "x", {}, [("ids", "<i8", (1,))]):
            pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DamagedState, match="missing"):
        files.read(tmp_path / "x")
