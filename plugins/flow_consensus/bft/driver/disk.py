"""Writing and reading: one task writes, one write at a time; each is one transaction and one fsync."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise

import trio

from flow_consensus.bft.driver.port import Node
from flow_consensus.bft.effects import BlocksWanted, Write
from flow_consensus.bft.entries import blocks_of, is_head
from flow_consensus.bft.messages import Certificate
from flowcore.errors import StorageError, StorageFull, TooOld
from flowcore.state import LogEntry, Storage

_logger = logging.getLogger(__name__)

_AGAIN = 1.0
"""Seconds until what did not fit on the disk is tried again."""


class Writer:
    """Takes the engine's writes to the storage."""

    def __init__(self, node: Node, storage: Storage, reset: Callable[[int], None]) -> None:
        self._node = node
        self._storage = storage
        self._reset = reset
        """Told once the log was let go of for a snapshot."""
        self._wake = trio.Event()
        self._write: Write | None = None
        self.trouble = ""
        """Why nothing can be written just now."""

    def put(self, write: Write) -> None:
        """The next write; the one before is durable."""
        self._write = write
        self._wake.set()

    async def run(self) -> None:
        """Write, until the disk fails."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                write, self._write = self._write, None
                if write is not None:
                    await self._store(write)
        except StorageError as error:
            self._node.disk_failed(error)

    async def _store(self, write: Write) -> None:
        storage = self._storage
        if write.reset is not None:
            position, height = write.reset
            await self._with_room(lambda: storage.reset(position, height))
            self._reset(position)
        entries, hard_state = write.entries, write.hard_state
        await self._with_room(lambda: storage.append(entries, hard_state=hard_state))
        self._node.engine.persisted(write.number)
        self._node.wake()
        if write.compact is not None:  # nobody waits for that
            position = write.compact
            await self._with_room(lambda: storage.compact(position))

    async def _with_room(self, work: Callable[[], Awaitable[None]]) -> None:
        """Again while there is no room on the disk; nothing is promised meanwhile."""
        while True:
            try:
                await work()
            except StorageFull as error:
                if not self.trouble:
                    self.trouble = str(error)
                    _logger.error("%s: %s", self._node.engine.name, error)
                    self._node.moved()
                await trio.sleep(_AGAIN)
            else:
                break
        self.trouble = ""

    async def blocks(self, wanted: BlocksWanted) -> None:
        """Read blocks that another node needs and memory has not."""
        engine = self._node.engine
        try:
            tip = engine.certificate  # the last block's is in no head yet
            limit = engine.settings.batch_bytes
            found = await blocks_from(self._storage, wanted.height, limit, tip)
        except StorageError as error:
            self._node.disk_failed(error)
            return
        engine.blocks_read(wanted.to, found)
        self._node.wake()


async def blocks_from(
    storage: Storage, height: int, limit: int, tip: Certificate | None
) -> list[tuple[bytes, Certificate]]:
    """Blocks from a height on whose certificates are known, about `limit` bytes; none if it is compacted.

    An entry's term is its block's height, so a block is found by halving.
    """
    try:
        low, high = storage.compacted[0] + 1, storage.last + 1
        while low < high:
            middle = (low + high) // 2
            (entry,) = await storage.read(middle, middle, 1)
            if entry.term < height:
                low = middle + 1
            else:
                high = middle
        if low > storage.last:
            return []
        entries: list[LogEntry] = []
        size, heads, at = 0, 0, low
        while at <= storage.last and (heads < 3 or size < limit):
            for one in await storage.read(at, storage.last, limit):
                entries.append(one)
                size += len(one.data)
                heads += is_head(one.data)
            at = entries[-1].position + 1
    except TooOld:
        return []
    found = blocks_of(entries)
    if not found or found[0].block.height != height:
        return []
    certified = [
        (one.data, after.parent) for one, after in pairwise(found) if after.parent is not None
    ]
    if tip is not None and found[-1].digest == tip.digest:
        certified.append((found[-1].data, tip))
    return certified
