"""Snapshots on their way: read from the state for a follower, and into the storage from a leader."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import trio

from flow_consensus.raft.driver.port import Node
from flow_consensus.raft.effects import ChunkStored, ChunkWanted
from flow_consensus.raft.engine import Engine
from flowcore.errors import StateUnavailable, StorageError, StorageFailed
from flowcore.state import SnapshotSource, Storage
from flowcore.telemetry import Histogram

_logger = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes of one piece on the wire, at most."""
_PATIENCE = 30.0
"""Seconds after which a snapshot that nobody asks pieces of is let go of."""


class Outgoing:
    """One follower's snapshot: a task reads it, a piece each time one is wanted."""

    def __init__(
        self,
        to: str,
        engine: Engine,
        source: SnapshotSource,
        wake: Callable[[], None],
        took: Histogram,
    ) -> None:
        """`took` is told how long one took until all of it was handed over."""
        self._to = to
        self._engine = engine
        self._source = source
        self._wake = wake
        self._took = took
        self._send, self._receive = trio.open_memory_channel[ChunkWanted](math.inf)
        self.done = False
        self._whole = False

    def want(self, wanted: ChunkWanted) -> None:
        self._send.send_nowait(wanted)

    async def run(self) -> None:
        """Read and hand over, until it is whole, or nobody wants it."""
        try:
            with trio.move_on_after(_PATIENCE) as patience:
                wanted = await self._receive.receive()
                while True:
                    again = await self._one(wanted, patience)
                    if again is None:
                        return
                    wanted = again
        except (StorageError, StateUnavailable, ValueError) as error:
            _logger.warning("no snapshot for %s: %s", self._to, error)
        finally:
            self.done = True
            if not self._whole or self._receive.statistics().current_buffer_used:
                self._engine.report_snapshot(self._to, ok=False)  # and it begins anew
                self._wake()

    async def _one(self, wanted: ChunkWanted, patience: trio.CancelScope) -> ChunkWanted | None:
        """One snapshot from its beginning; gives what is wanted anew, None once it was handed over."""
        began = trio.current_time()
        async with self._source() as (position, frames), aclosing(_pieces(frames)) as pieces:
            if position < wanted.at_least:
                return None
            info = self._engine.describe(position)
            number = 0
            async for data, last in pieces:
                self._engine.chunk_read(self._to, info, number, data, last=last)
                self._wake()
                if last:
                    self._took.record(trio.current_time() - began)
                    self._whole = True  # the engine keeps it until it is answered
                    return None
                number += 1
                patience.deadline = trio.current_time() + _PATIENCE
                wanted = await self._receive.receive()
                patience.deadline = trio.current_time() + _PATIENCE
                if wanted.number != number:
                    return wanted
        return None


async def _pieces(frames: AsyncGenerator[bytes]) -> AsyncGenerator[tuple[bytes, bool]]:
    """Pieces of `CHUNK` bytes, and whether each is the last."""
    held = bytearray()
    async with aclosing(frames):
        async for frame in frames:
            held += frame
            while len(held) > CHUNK:
                yield bytes(held[:CHUNK]), False
                del held[:CHUNK]
    yield bytes(held), True


class Incoming:
    """A snapshot from a leader: a task stores it, a piece at a time."""

    def __init__(
        self,
        first: ChunkStored,
        engine: Engine,
        storage: Storage,
        wake: Callable[[], None],
        took: Histogram,
    ) -> None:
        """`took` is told how long it took from its first piece until it was durable."""
        self.info = first.info
        self._engine = engine
        self._storage = storage
        self._wake = wake
        self._took = took
        self._send, self._receive = trio.open_memory_channel[ChunkStored](1)
        self._send.send_nowait(first)
        self.scope = trio.CancelScope()

    def feed(self, chunk: ChunkStored) -> None:
        """The next piece; the one before was stored."""
        self._send.send_nowait(chunk)

    async def run(self) -> None:
        """Store them all. Raises StorageError."""
        with self.scope:
            began, last = trio.current_time(), 0

            async def chunks() -> AsyncGenerator[bytes]:
                nonlocal last
                async for chunk in self._receive:
                    yield chunk.data
                    if chunk.last:
                        last = chunk.number
                        return
                    self._engine.chunk_stored(self.info.position, chunk.number)
                    self._wake()

            await self._storage.save_snapshot(self.info, chunks())
            self._took.record(trio.current_time() - began)
            self._engine.chunk_stored(self.info.position, last)
            self._wake()


class Snapshots:
    """All that are on their way, to and from this node."""

    def __init__(self, node: Node, storage: Storage) -> None:
        self._node = node
        self._storage = storage
        self._outgoing: dict[str, Outgoing] = {}
        self._incoming: Incoming | None = None
        self.source: SnapshotSource | None = None
        """Where they come from, for others."""
        self.given, self.taken = Histogram(), Histogram()
        """How long they took."""

    def give(self, wanted: ChunkWanted, nursery: trio.Nursery) -> None:
        """A follower needs a piece."""
        node = self._node
        outgoing = self._outgoing.get(wanted.to)
        if outgoing is None or outgoing.done:
            if self.source is None or wanted.number:
                node.engine.report_snapshot(wanted.to, ok=False)
                return
            outgoing = Outgoing(wanted.to, node.engine, self.source, node.wake, self.given)
            self._outgoing[wanted.to] = outgoing
            nursery.start_soon(outgoing.run)
        outgoing.want(wanted)

    def take(self, chunk: ChunkStored, nursery: trio.Nursery) -> None:
        """A piece has come from the leader."""
        if chunk.number == 0:
            if self._incoming is not None:
                self._incoming.scope.cancel()
            node = self._node
            self._incoming = Incoming(chunk, node.engine, self._storage, node.wake, self.taken)
            nursery.start_soon(self._intake, self._incoming)
        elif self._incoming is not None:
            self._incoming.feed(chunk)

    async def _intake(self, incoming: Incoming) -> None:
        try:
            await incoming.run()
        except StorageFailed as error:
            self._node.disk_failed(error)
        except StorageError as error:
            _logger.error("a snapshot could not be stored: %s", error)
        finally:
            if self._incoming is incoming:
                self._incoming = None
