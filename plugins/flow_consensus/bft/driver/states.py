"""Which snapshot is made, given or taken when: what the engine wants of the state, done."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import attrs
import trio

from flow_consensus.bft.driver.port import Node
from flow_consensus.bft.driver.snapshots import Giving, Making, Taking
from flow_consensus.bft.effects import CheckpointDue, ChunkWanted, Install, Piece, Ready
from flow_consensus.bft.messages import Message, encode
from flow_consensus.pieces import Post
from flow_consensus.tail import Tail, check_applied
from flowcore.errors import StorageError, StorageFailed
from flowcore.state import Committed, Installed, SnapshotSource, Storage
from flowcore.telemetry import Histogram

_logger = logging.getLogger(__name__)


class States:
    """Snapshots of one node: of its own state for checkpoints, for others, and from others."""

    def __init__(self, node: Node, storage: Storage, post: Post) -> None:
        self._node = node
        self._storage = storage
        self._post = post
        self._source: SnapshotSource | None = None
        self._nursery: trio.Nursery | None = None
        self._given, self._taken_in, self._made = Histogram(), Histogram(), Histogram()
        self._making = Making(node.engine, storage, node.wake, self._made)
        self._due: dict[int, CheckpointDue] = {}
        self._giving: dict[str, Giving] = {}
        self._taking: Taking | None = None

    @property
    def made(self) -> Histogram:
        """How long storing this node's own took."""
        return self._made

    @property
    def taken(self) -> Histogram:
        """How long taking others' in took."""
        return self._taken_in

    def status(self) -> dict[str, Any]:
        return {
            "made": attrs.asdict(self._made.durations()),
            "taken": attrs.asdict(self._taken_in.durations()),
        }

    def come_from(self, source: SnapshotSource) -> None:
        """Where the state's snapshots come from, for checkpoints."""
        self._source = source

    def run_in(self, nursery: trio.Nursery | None) -> None:
        """Where what takes its time is done; None: nowhere any more."""
        self._nursery = nursery

    def do(self, ready: Ready, nursery: trio.Nursery) -> None:
        """What the engine wants of states."""
        for due in ready.checkpoints:
            self._due[due.position] = due
        for chunk in ready.chunks_wanted:
            self._give(chunk, nursery)
        if ready.install is not None:
            self._take(ready.install, nursery)
        for piece in ready.pieces:
            self._feed(piece)

    async def followed(
        self, tail: Tail, after: int
    ) -> AsyncGenerator[Sequence[Committed] | Installed]:
        """What is committed; where a checkpoint is due, the state's snapshot is opened in between."""
        check_applied(after, self._storage.last)
        async with aclosing(tail.follow(after)) as stream:
            async for batch in stream:
                if isinstance(batch, Installed):
                    yield batch
                    continue
                rest = list(batch)
                while rest:
                    at = next((n for n, one in enumerate(rest, 1) if one.position in self._due), 0)
                    some, rest = (rest[:at], rest[at:]) if at else (rest, [])
                    yield some  # when more is asked for, all of it is applied
                    if at:
                        await self._checkpoint(self._due.pop(some[-1].position))

    def forget(self) -> None:
        """The log was let go of for a snapshot: no checkpoint before it is made any more."""
        self._due.clear()

    async def _checkpoint(self, due: CheckpointDue) -> None:
        """The state is exactly as it is after a block: open its snapshot, store it meanwhile."""
        # one at a time, and none left out: it takes a quorum of the same one
        await self._making.idle.wait()
        if self._source is None or self._nursery is None:
            return
        await self._nursery.start(self._making.run, due, self._source)

    def _give(self, wanted: ChunkWanted, nursery: trio.Nursery) -> None:
        held = self._storage.snapshot
        if held is None or held.term != wanted.height:
            self._node.engine.chunk_gone(wanted.to)  # another one by now
            return
        giving = self._giving.get(wanted.to)
        if giving is None or giving.done or giving.height != wanted.height:
            giving = Giving(wanted.to, wanted.height, self._storage, self._send)
            self._giving[wanted.to] = giving
            nursery.start_soon(giving.run)
        giving.want(wanted)

    def _send(self, to: str, chunk: Message) -> None:
        self._post.send(to, encode(chunk))

    def _take(self, install: Install, nursery: trio.Nursery) -> None:
        if self._taking is not None:
            self._taking.scope.cancel()
        node = self._node
        self._taking = Taking(install, node.engine, self._storage, node.wake, self._taken_in)
        nursery.start_soon(self._intake, self._taking)

    def _feed(self, piece: Piece) -> None:
        if self._taking is not None:
            self._taking.feed(piece)

    async def _intake(self, taking: Taking) -> None:
        try:
            await taking.run()
        except StorageFailed as error:
            self._node.disk_failed(error)
        except StorageError as error:
            _logger.error("a snapshot could not be stored: %s", error)
        finally:
            if self._taking is taking:
                self._taking = None
