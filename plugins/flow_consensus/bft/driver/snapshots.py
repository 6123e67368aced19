"""Snapshots at checkpoints: of this node's state, for others, and from others."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import trio

from flow_consensus.bft.effects import CheckpointDue, ChunkWanted, Install, Piece
from flow_consensus.bft.engine import Engine
from flow_consensus.bft.messages import Chunk
from flow_consensus.bft.restored import encode_about
from flow_consensus.bft.signing import DIGEST
from flowcore.errors import StateUnavailable, StorageError, TooOld, UntrustedFile
from flowcore.state import SnapshotInfo, SnapshotSource, Storage
from flowcore.telemetry import Histogram

_logger = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes of one piece."""
_PATIENCE = 30.0
"""Seconds after which a snapshot that nobody asks pieces of is not held open any more."""


async def pieces(frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same bytes in pieces of `CHUNK` bytes; one at least."""
    held = bytearray()
    async with aclosing(frames):
        async for frame in frames:
            held += frame
            while len(held) > CHUNK:
                yield bytes(held[:CHUNK])
                del held[:CHUNK]
    yield bytes(held)


class Making:
    """Storing this node's state as it is at a checkpoint, and saying its digest."""

    def __init__(
        self, engine: Engine, storage: Storage, wake: Callable[[], None], took: Histogram
    ) -> None:
        self._engine = engine
        self._storage = storage
        self._wake = wake
        self._took = took
        self.idle = trio.Event()
        """Set while none is stored."""
        self.idle.set()

    async def run(
        self,
        due: CheckpointDue,
        source: SnapshotSource,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Started once the snapshot is open: the state may go on then."""
        self.idle = trio.Event()
        try:
            began = trio.current_time()
            async with source() as (position, frames):
                task_status.started()
                if position != due.position:
                    return  # the state is that of a later snapshot
                found = hashlib.blake2b(digest_size=DIGEST)

                async def chunks() -> AsyncGenerator[bytes]:
                    async with aclosing(pieces(frames)) as stream:
                        async for piece in stream:
                            found.update(piece)
                            yield piece

                info = SnapshotInfo(position=due.position, term=due.height)
                async with aclosing(chunks()) as stored:
                    await self._storage.save_snapshot(info, stored)
            self._took.record(trio.current_time() - began)
            self._engine.checkpointed(due.height, found.digest())
            self._wake()
        except (StorageError, StateUnavailable) as error:
            _logger.warning("no checkpoint at %d: %s", due.position, error)
        finally:
            self.idle.set()


class Giving:
    """One peer's way through the stored snapshot: a piece each time one is wanted, in order."""

    def __init__(
        self, to: str, height: int, storage: Storage, send: Callable[[str, Chunk], None]
    ) -> None:
        self._to = to
        self.height = height
        self._storage = storage
        self._give = send
        self._send, self._receive = trio.open_memory_channel[ChunkWanted](8)
        self.done = False

    def want(self, wanted: ChunkWanted) -> None:
        """The next piece, or the last one again; beyond what can wait it is asked again."""
        try:
            self._send.send_nowait(wanted)
        except trio.WouldBlock:
            return

    async def run(self) -> None:
        """Read and send, until it is whole, or nobody wants it."""
        try:
            with trio.move_on_after(_PATIENCE) as patience:
                wanted = await self._receive.receive()
                while True:
                    async with aclosing(self._storage.read_snapshot()) as stream:
                        number, last = 0, b""
                        held = await anext(stream, None)
                        while held is not None:
                            following = await anext(stream, None)
                            if number == wanted.number:
                                self._give(
                                    self._to,
                                    Chunk(self.height, number, held, following is None),
                                )
                                last = held
                                wanted = await self._receive.receive()
                                patience.deadline = trio.current_time() + _PATIENCE
                                while wanted.number == number:  # it was lost on its way
                                    again = Chunk(self.height, number, last, following is None)
                                    self._give(self._to, again)
                                    wanted = await self._receive.receive()
                                if wanted.number < number:
                                    break
                            number, held = number + 1, following
                        else:
                            return
        except (StorageError, TooOld) as error:
            _logger.warning("no snapshot for %s: %s", self._to, error)
        finally:
            self.done = True


class Taking:
    """A snapshot from another node: stored a piece at a time, and believed if it is what was certified."""

    def __init__(
        self,
        install: Install,
        engine: Engine,
        storage: Storage,
        wake: Callable[[], None],
        took: Histogram,
    ) -> None:
        self._install = install
        self._engine = engine
        self._storage = storage
        self._wake = wake
        self._took = took
        self._send, self._receive = trio.open_memory_channel[Piece](math.inf)
        self.scope = trio.CancelScope()

    def feed(self, piece: Piece) -> None:
        """The next piece; the one before was stored."""
        self._send.send_nowait(piece)

    async def run(self) -> None:
        """Store them all. Raises StorageError of the disk."""
        install = self._install
        with self.scope:
            began = trio.current_time()
            info = SnapshotInfo(
                position=install.position,
                term=install.height,
                about=encode_about(install.checkpoint),
            )
            try:
                async with aclosing(self._chunks()) as stored:
                    await self._storage.save_snapshot(info, stored)
            except UntrustedFile as error:
                self._engine.install_failed(install.height, str(error))
            else:
                self._took.record(trio.current_time() - began)
                self._engine.installed(install.height)
            self._wake()

    async def _chunks(self) -> AsyncGenerator[bytes]:
        install = self._install
        found = hashlib.blake2b(digest_size=DIGEST)
        async for piece in self._receive:
            found.update(piece.data)
            yield piece.data
            if piece.last:
                break
            self._engine.piece_stored(install.height, piece.number)
            self._wake()
        if found.digest() != install.checkpoint.state:
            raise UntrustedFile("it is not the state that was certified")
