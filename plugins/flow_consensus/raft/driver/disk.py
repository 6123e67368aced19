"""Writing: one task, one write at a time; each is one transaction and one fsync, where it can be."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from flow_consensus.raft.driver.port import Node
from flow_consensus.raft.effects import Fetch, Write
from flowcore.errors import StorageError, StorageFull, TooOld
from flowcore.state import Storage

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
            position, term = write.reset
            await self._with_room(lambda: storage.reset(position, term))
            self._reset(position)
        if write.entries or write.hard_state is not None:
            entries, hard_state = write.entries, write.hard_state
            await self._with_room(lambda: storage.append(entries, hard_state=hard_state))
        self._node.engine.persisted(write.number)
        self._node.turn()
        if write.compact is not None:  # nobody waits for that
            position = write.compact
            await self._with_room(lambda: storage.compact(position))

    async def _with_room(self, work: Callable[[], Awaitable[None]]) -> None:
        """Again while there is no room on the disk; this node leads nobody meanwhile."""
        engine = self._node.engine
        while True:
            try:
                await work()
            except StorageFull as error:
                if not self.trouble:
                    self.trouble = str(error)
                    _logger.error("%s: %s", engine.name, error)
                    engine.resign(self.trouble)
                    self._node.moved()
                    self._node.wake()
                await trio.sleep(_AGAIN)
            else:
                break
        if self.trouble:
            self.trouble = ""
            engine.recover()

    async def fetch(self, fetch: Fetch) -> None:
        """Read entries that a follower needs and memory has not."""
        try:
            entries = await self._storage.read(fetch.first, fetch.last, fetch.limit)
        except TooOld:
            entries = []  # compacted meanwhile
        except StorageError as error:
            self._node.disk_failed(error)
            return
        self._node.engine.fetched(fetch.to, entries)
        self._node.wake()
