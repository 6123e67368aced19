"""`memory`: a log that is gone when the node stops. For tests, and for nodes that may forget."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flow_storage.measures import ENTRIES, SIZE, SNAPSHOT
from flowcore.errors import TooOld
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.state import LogEntry, SnapshotInfo, Storage
from flowcore.telemetry import Reading


@attrs.frozen(kw_only=True)
class MemoryConfig:
    """A log in memory: everything is forgotten when the node stops."""


class MemoryLog:
    """The log, as a list."""

    durable = False

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.compacted = (0, 0)
        self.hard_state = b""
        self.snapshot: SnapshotInfo | None = None
        self._entries: list[LogEntry] = []
        self._chunks: tuple[bytes, ...] = ()
        self._bytes = 0

    @property
    def last(self) -> int:
        return self.compacted[0] + len(self._entries)

    async def append(self, entries: Sequence[LogEntry], *, hard_state: bytes | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if entries:
            first = entries[0].position
            if not self.compacted[0] < first <= self.last + 1:
                raise ValueError(
                    f"entry {first} does not follow: the log has {self.compacted[0] + 1} to {self.last}"
                )
            if any(one.position != first + at for at, one in enumerate(entries)):
                raise ValueError(f"the entries from {first} on do not follow each other")
            self._bytes -= sum(
                len(one.data) for one in self._entries[first - self.compacted[0] - 1 :]
            )
            self._entries[first - self.compacted[0] - 1 :] = entries
            self._bytes += sum(len(one.data) for one in entries)
        if hard_state is not None:
            self.hard_state = hard_state

    async def read(self, first: int, last: int, limit: int = 1 << 20) -> list[LogEntry]:
        await trio.lowlevel.checkpoint()
        start = self.compacted[0]
        if first <= start:
            raise TooOld(f"entry {first} is not kept any more: the log begins after {start}")
        taken: list[LogEntry] = []
        for at in range(first - start - 1, min(last, self.last) - start):
            entry = self._entries[at]
            limit -= len(entry.data)
            if taken and limit < 0:
                break
            taken.append(entry)
        return taken

    async def compact(self, position: int) -> None:
        await trio.lowlevel.checkpoint()
        gone = min(position, self.last) - self.compacted[0]
        if gone > 0:
            self._bytes -= sum(len(one.data) for one in self._entries[:gone])
            last = self._entries[gone - 1]
            self.compacted = (last.position, last.term)
            del self._entries[:gone]

    async def reset(self, position: int, term: int) -> None:
        await trio.lowlevel.checkpoint()
        self._entries.clear()
        self._bytes = 0
        self.compacted = (position, term)

    async def save_snapshot(self, info: SnapshotInfo, chunks: AsyncIterable[bytes]) -> None:
        taken = [chunk async for chunk in chunks]
        self._chunks, self.snapshot = tuple(taken), info

    async def read_snapshot(self) -> AsyncGenerator[bytes]:
        if self.snapshot is None:
            raise TooOld("there is no snapshot")
        for chunk in self._chunks:
            await trio.lowlevel.checkpoint()
            yield chunk

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        yield SIZE.of(self._bytes)
        yield ENTRIES.of(self.last - self.compacted[0])
        yield SNAPSHOT.of(None if self.snapshot is None else self.snapshot.position)

    def status(self) -> dict[str, Any]:
        """How much it holds."""
        return {
            "durable": False,
            "first": self.compacted[0] + 1,
            "last": self.last,
            "bytes": self._bytes,
            "snapshot": None if self.snapshot is None else self.snapshot.position,
        }


@asynccontextmanager
async def open_memory(config: MemoryConfig, context: Context) -> AsyncGenerator[Storage]:
    """An empty log."""
    del config, context
    yield MemoryLog(uuid.uuid4().hex)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("storage", "memory", MemoryConfig, open_memory))
