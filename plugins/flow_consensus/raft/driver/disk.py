"""What follows for a node from what is written, and reading for followers that are behind."""

from __future__ import annotations

from collections.abc import Callable

from flow_consensus import writing
from flow_consensus.raft.driver.port import Node
from flow_consensus.raft.effects import Fetch
from flowcore.errors import StorageError, TooOld
from flowcore.state import Storage


class Writer(writing.Writer):
    """Takes the engine's writes to the storage; while there is no room there, this node leads nobody."""

    def __init__(self, node: Node, storage: Storage, reset: Callable[[int], None]) -> None:
        super().__init__(node.engine.name, storage, reset)
        self._node = node

    def written(self, number: int) -> None:
        self._node.engine.persisted(number)
        self._node.turn()

    def full(self) -> None:
        self._node.engine.resign(self.trouble)
        self._node.moved()
        self._node.wake()

    def roomy(self) -> None:
        self._node.engine.recover()

    def failed(self, error: StorageError) -> None:
        self._node.disk_failed(error)

    async def fetch(self, fetch: Fetch) -> None:
        """Read entries that a follower needs and memory has not."""
        try:
            entries = await self._storage.read(fetch.first, fetch.last, fetch.limit)
        except TooOld:
            entries = []  # compacted meanwhile
        except StorageError as error:
            self.failed(error)
            return
        self._node.engine.fetched(fetch.to, entries)
        self._node.wake()
