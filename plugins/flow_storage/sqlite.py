"""`sqlite`: a log in one SQLite file, on disk when it says so.

Write-ahead logging with `synchronous = FULL`: a transaction is one fsync of what it adds. Each entry carries
a hash of itself. The file is opened by one process alone; one that is damaged, of a newer version, or not a
log is refused with the reason. What a failed disk leaves behind is not read and not written any more.

    [storage]
    type = "sqlite"
    key = { file = "keys/log.key" }

With a key, what entries and snapshots hold is encrypted (`sealing`). Its file has one key a line; the first
one is used, and what was written with another one, or with none, is written again with it after the start.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import attrs
import trio

from flow_storage.log_file import LogFile
from flow_storage.measures import COMMITS, ENTRIES, FAILED, FSYNC, SIZE, SNAPSHOT
from flow_storage.sealing import PLAIN, Seals, named, seals_of
from flowcore.config import Secret, setting
from flowcore.errors import StorageError, StorageFailed
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.secrets import read_seal_keys
from flowcore.sqlite import FileThread
from flowcore.state import LogEntry, SnapshotInfo, Storage
from flowcore.telemetry import FINE, Reading

_logger = logging.getLogger(__name__)
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class SqliteConfig:
    """A log in one SQLite file, `log.sqlite`, in the component's folder."""

    key: Secret | None = setting(
        None,
        help="encrypts what entries and snapshots hold: keys, one a line, of which the first is used and the"
        " others still open what they sealed (flowctl seal --new-key FILE, --add-key FILE)",
    )

    def __attrs_post_init__(self) -> None:
        if self.key is not None:
            read_seal_keys(self.key.reveal())


class SqliteStorage:
    """The log, with a thread of its own for all that touches the disk."""

    durable = True

    def __init__(self, file: LogFile, thread: FileThread, report: Callable[[str], None]) -> None:
        self._file = file
        self._report = report
        self._thread = thread
        self._failed = ""
        self._commits = 0
        self._entries = 0
        self._seconds = 0.0
        self._longest = 0.0
        self.identity = file.identity

    @property
    def seals(self) -> Seals:
        """Its keys: what else is kept of the same content is sealed with them, too."""
        return self._file.seals

    @property
    def compacted(self) -> tuple[int, int]:
        return self._file.compacted

    @property
    def last(self) -> int:
        return self._file.last

    @property
    def hard_state(self) -> bytes:
        return self._file.hard_state

    @property
    def snapshot(self) -> SnapshotInfo | None:
        return self._file.snapshot

    async def append(self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None) -> None:
        await self.begin_append(entries, hard_state=hard_state)()

    def begin_append(
        self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None
    ) -> Callable[[], Awaitable[None]]:
        """As `BeginsAppends.begin_append`."""
        if self._failed:
            return partial(self._appended, self._refused, len(entries), perf_counter())
        done = self._thread.begin(lambda: self._file.append(entries, hard_state))
        return partial(self._appended, done, len(entries), perf_counter())

    async def _appended(
        self, done: Callable[[], Awaitable[None]], entries: int, began: float
    ) -> None:
        await self._told(done)
        took = perf_counter() - began
        self._commits += 1
        self._entries += entries
        self._seconds += took
        self._longest = max(self._longest, took)
        if self._file.room.short:
            self._thread.later(self._file.room.reserve)

    async def read(self, first: int, last: int, limit: int = 1 << 20) -> list[LogEntry]:
        return await self._run(lambda: self._file.read(first, last, limit))

    async def compact(self, position: int) -> None:
        while await self._write(lambda: self._file.compact(position)):
            pass  # a slice at a time, so that what is to be appended need not wait long

    async def reset(self, position: int, term: int) -> None:
        await self._write(lambda: self._file.reset(position, term))

    async def save_snapshot(self, info: SnapshotInfo, chunks: AsyncIterable[bytes]) -> None:
        slot = await self._write(self._file.begin_snapshot)
        number = 0
        async for chunk in chunks:
            await self._write(partial(self._file.put_chunk, slot, number, chunk))
            number += 1
        await self._write(lambda: self._file.end_snapshot(slot, info, number))

    async def read_snapshot(self) -> AsyncGenerator[bytes]:
        number, slot = 0, self._file.snapshot_slot()
        while (chunk := await self._run(partial(self._file.chunk, slot, number))) is not None:
            yield chunk
            number += 1

    async def reseal(self) -> None:
        """Seal with the first key what is not, some at a time, beside what else is written."""
        after: int | None = 0
        while after is not None and len(self._file.keys) > 1:
            after = await self._write(partial(self._file.reseal, after))

    async def _write(self, work: Callable[[], T]) -> T:
        if self._failed:
            await self._refused()
        return await self._told(partial(self._run, work))

    async def _refused(self) -> None:
        raise StorageFailed(self._failed)

    async def _told(self, done: Callable[[], Awaitable[T]]) -> T:
        """What comes of a write; of one that fails, all know."""
        try:
            return await done()
        except StorageFailed as error:
            if not self._failed:
                self._failed = f"nothing is written since the disk failed: {error}"
                self._report(str(error))
            raise

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._thread.run(work)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        held = self._file.snapshot
        yield SIZE.of(self._file.size())
        yield ENTRIES.of(self._file.last - self._file.compacted[0])
        yield SNAPSHOT.of(None if held is None else held.position)
        yield COMMITS.of(self._commits)
        yield FSYNC.of(self._file.fsyncs.distribution(FINE))
        yield FAILED.of(int(bool(self._failed)))

    def status(self) -> dict[str, Any]:
        """How much it holds, and how long its commits took, fsync and the way to the thread included."""
        held = self._file.snapshot
        return {
            "durable": True,
            "failed": self._failed,
            "first": self._file.compacted[0] + 1,
            "last": self._file.last,
            "bytes": self._file.size(),
            "snapshot": None if held is None else held.position,
            "commits": self._commits,
            "entries": self._entries,
            "commit_mean": round(self._seconds / self._commits, 6) if self._commits else 0.0,
            "commit_max": round(self._longest, 6),
            "keys": ["none" if one == PLAIN else named(one) for one in self._file.keys],
            "fsync_seconds": attrs.asdict(self._file.fsyncs.durations()),
        }


@asynccontextmanager
async def open_sqlite(config: SqliteConfig, context: Context) -> AsyncGenerator[Storage]:
    """The log as it was left. Raises UntrustedFile, StorageFailed, StorageFull."""
    from flowcore.assembly import Status

    path = context.data_dir / "log.sqlite"
    seals = seals_of(None if config.key is None else config.key.reveal())
    file = await trio.to_thread.run_sync(LogFile, path, seals)
    thread = FileThread("log")
    try:
        storage = SqliteStorage(file, thread, lambda reason: context.report(Status.FAILED, reason))
        if len(file.keys) < 2:
            yield storage
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_resealed, storage)
            yield storage
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await thread.run(file.close)
        thread.end()


async def _resealed(storage: SqliteStorage) -> None:
    try:
        await storage.reseal()
    except StorageError as error:  # whoever writes or reads next is told the same
        _logger.error("not all of the log could be encrypted with the first key: %s", error)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("storage", "sqlite", SqliteConfig, open_sqlite))
