"""What follows for a node from what is written, and reading of blocks for those that are behind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from flow_consensus import writing
from flow_consensus.bft.driver.port import Node
from flow_consensus.bft.effects import BlocksWanted
from flow_consensus.bft.entries import blocks_of, is_head
from flow_consensus.bft.messages import Certificate
from flowcore.errors import StorageError, TooOld
from flowcore.state import LogEntry, Storage


class Writer(writing.Writer):
    """Takes the engine's writes to the storage; an entry's term is the height of its block."""

    def __init__(self, node: Node, storage: Storage, reset: Callable[[int], None]) -> None:
        super().__init__(node.engine.name, storage, reset)
        self._node = node

    def written(self, number: int) -> None:
        self._node.engine.persisted(number)
        self._node.turn()

    def full(self) -> None:
        self._node.moved()

    def roomy(self) -> None:
        self._node.moved()

    def failed(self, error: StorageError) -> None:
        self._node.disk_failed(error)

    async def blocks(self, wanted: BlocksWanted) -> None:
        """Read blocks that another node needs and memory has not."""
        engine = self._node.engine
        try:
            tip = engine.certificate  # the last block's is in no head yet
            limit = engine.settings.batch_bytes
            found = await blocks_from(self._storage, wanted.height, limit, tip)
        except StorageError as error:
            self.failed(error)
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
