"""What holds for every storage: what it has taken is there, in order, whatever happens, or it refuses."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import msgspec

from flowcore.errors import StorageError, TooOld
from flowcore.state import LogEntry, SnapshotInfo, Storage
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_DAMAGES = 60
"""Bytes that are changed in each file, evenly spread."""


def _entries(first: int, last: int, term: int = 1) -> list[LogEntry]:
    return [LogEntry(at, term, b"%d of term %d" % (at, term)) for at in range(first, last + 1)]


async def _all(storage: Storage) -> list[LogEntry]:
    """Everything it has, a little at a time."""
    found: list[LogEntry] = []
    at = storage.compacted[0] + 1
    while at <= storage.last:
        part = await storage.read(at, storage.last, 40)
        if not part:
            raise Wrong(f"read gave nothing for entry {at}, and its last is {storage.last}")
        found += part
        at += len(part)
    return found


async def keeps_entries_in_order(bench: Bench) -> None:
    """what is appended is read back, and takes the place of what stood there"""
    async with bench.opened() as storage:
        if (storage.last, storage.compacted, storage.hard_state) != (0, (0, 0), b""):
            raise Wrong("it is not empty at first")
        await storage.append(_entries(1, 5), hard_state=b"vote 1")
        await storage.append(_entries(4, 9, term=2))
        expected = [*_entries(1, 3), *_entries(4, 9, term=2)]
        if await _all(storage) != expected:
            raise Wrong(f"it has {await _all(storage)}, expected {expected}")
        if storage.last != 9 or storage.hard_state != b"vote 1":
            raise Wrong(f"its last is {storage.last}, its hard state {storage.hard_state!r}")
        if [one.position for one in await storage.read(2, 3)] != [2, 3]:
            raise Wrong("read(2, 3) does not give entries 2 and 3")
        await storage.append([], hard_state=b"vote 2")
        if storage.hard_state != b"vote 2" or storage.last != 9:
            raise Wrong("a hard state cannot be kept without entries")


async def refuses_what_does_not_follow(bench: Bench) -> None:
    """a gap is a ValueError, and nothing of it is kept"""
    async with bench.opened() as storage:
        await storage.append(_entries(1, 3))
        await storage.compact(1)
        for wrong in (_entries(5, 6), _entries(1, 2), [*_entries(4, 4), *_entries(6, 6)]):
            try:
                await storage.append(wrong)
            except ValueError:
                pass
            else:
                raise Wrong(
                    f"after entry 3, with 1 compacted, it takes {wrong[0].position} and so on"
                )
        if await _all(storage) != _entries(2, 3):
            raise Wrong("what was refused has changed it")


async def lets_go(bench: Bench) -> None:
    """what is compacted is gone, and the term of the last of it is known"""
    async with bench.opened() as storage:
        await storage.append([*_entries(1, 4), *_entries(5, 9, term=3)])
        await storage.compact(6)
        await storage.compact(2)  # gone already
        if storage.compacted != (6, 3) or await _all(storage) != _entries(7, 9, term=3):
            raise Wrong(f"after compact(6) it says {storage.compacted}")
        try:
            await storage.read(6, 9)
        except TooOld:
            pass
        else:
            raise Wrong("entry 6 is compacted, and read gives it")
        await storage.compact(1000)
        if storage.compacted != (9, 3) or storage.last != 9:
            raise Wrong(f"compact beyond the end leaves {storage.compacted}, last {storage.last}")
        await storage.reset(100, 7)
        await storage.append(_entries(101, 102, term=7))
        if storage.compacted != (100, 7) or await _all(storage) != _entries(101, 102, term=7):
            raise Wrong("after reset(100, 7) the log does not go on at 101")


class _Chunks:
    """Some chunks; then an error, where there is one."""

    def __init__(self, chunks: Sequence[bytes], error: Exception | None = None) -> None:
        self._chunks = iter(chunks)
        self._error = error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration


async def _snapshot(storage: Storage) -> list[bytes]:
    async with aclosing(storage.read_snapshot()) as chunks:
        return [chunk async for chunk in chunks]


async def keeps_a_snapshot_whole(bench: Bench) -> None:
    """a snapshot is there whole, or the one before it is"""
    async with bench.opened() as storage:
        if storage.snapshot is not None:
            raise Wrong("it has a snapshot at first")
        first = SnapshotInfo(position=3, term=1, about=b"a, b")
        await storage.save_snapshot(first, _Chunks([b"one", b"", b"three"]))
        try:
            broken = SnapshotInfo(position=9, term=1)
            await storage.save_snapshot(broken, _Chunks([b"x"], RuntimeError("cut off")))
        except RuntimeError:
            pass
        else:
            raise Wrong("an error of the chunks is not passed on")
        if storage.snapshot != first or await _snapshot(storage) != [b"one", b"", b"three"]:
            raise Wrong(f"after a broken one it has {storage.snapshot}")
        second = SnapshotInfo(position=5, term=2)
        await storage.save_snapshot(second, _Chunks([b"y" * 100_000]))
        if storage.snapshot != second or await _snapshot(storage) != [b"y" * 100_000]:
            raise Wrong("a second snapshot does not take the place of the first")


async def _filled(storage: Storage) -> None:
    await storage.append([*_entries(1, 4), *_entries(5, 30, term=2)], hard_state=b"vote")
    await storage.compact(2)
    await storage.save_snapshot(SnapshotInfo(position=2, term=1), _Chunks([b"s" * 100]))


async def _content(storage: Storage) -> object:
    held = (storage.identity, storage.compacted, storage.hard_state, storage.snapshot)
    return (*held, await _snapshot(storage), await _all(storage))


async def is_there_again(bench: Bench) -> None:
    """what says that it is durable is there when it is opened again; what does not begins anew"""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        async with bench.opened(folder=folder) as storage:
            durable = storage.durable
            await _filled(storage)
            before = await _content(storage)
        async with bench.opened(folder=folder) as storage:
            if durable and await _content(storage) != before:
                raise Wrong("it is not as it was left")
            if not durable and (storage.last or storage.identity == before[0]):  # type: ignore[index]
                raise Wrong("it is not durable, and there is something")
    async with bench.opened() as other:
        if other.identity == before[0]:  # type: ignore[index]
            raise Wrong("two logs have one identity")


async def trusts_no_damaged_file(bench: Bench) -> None:
    """with a byte changed it refuses to open, for a StorageError, or is as it was"""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        async with bench.opened(folder=folder) as storage:
            await _filled(storage)
            before = await _content(storage)
        for path in _files(folder):
            whole = path.read_bytes()
            for at in range(0, len(whole), max(1, len(whole) // _DAMAGES)):
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
                with contextlib.suppress(StorageError):
                    async with bench.opened(folder=folder) as storage:
                        if await _content(storage) != before:
                            raise Wrong(
                                f"it takes byte {at} of {path.name}, changed, for what it wrote"
                            )
                path.write_bytes(whole)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def says_what_it_holds(bench: Bench) -> None:
    """its status is plain data, and changes with what it holds"""
    async with bench.opened() as storage:
        empty = msgspec.json.encode(storage.status())
        await storage.append(_entries(1, 10))
        if msgspec.json.encode(storage.status()) == empty:
            raise Wrong("its status is the same with ten entries")
