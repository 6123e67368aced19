"""Writing what an engine promises: one task, one write at a time, each one transaction and one fsync."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import trio

from flow_consensus.effects import Write
from flowcore.errors import StorageError, StorageFull
from flowcore.state import BeginsAppends, Storage

_logger = logging.getLogger(__name__)

_AGAIN = 1.0
"""Seconds until what did not fit on the disk is tried again."""


class Writer(ABC):
    """Takes an engine's writes to the storage. Drivers say in a class of their own what follows from it."""

    def __init__(self, name: str, storage: Storage, reset: Callable[[int], None]) -> None:
        self._name = name
        self._storage = storage
        self._reset = reset
        """Told once the log was let go of for a snapshot."""
        self._wake = trio.Event()
        self._begin = storage.begin_append if isinstance(storage, BeginsAppends) else None
        self._write: Write | None = None
        self._begun: Callable[[], Awaitable[None]] | None = None
        """Tells when what that one appends is written, where it is begun already."""
        self.trouble = ""
        """Why nothing can be written just now."""

    @abstractmethod
    def written(self, number: int) -> None:
        """A write is durable."""

    @abstractmethod
    def full(self) -> None:
        """There is no room on the disk from now on: `trouble` says so."""

    @abstractmethod
    def roomy(self) -> None:
        """There is room again."""

    @abstractmethod
    def failed(self, error: StorageError) -> None:
        """The disk has failed: nothing is written any more."""

    def put(self, write: Write) -> None:
        """The next write; the one before is durable."""
        self._write = write
        if self._begin is not None and write.reset is None and len(write.entries) == 1:
            # of several the turn has more to do, which the thread of the storage would only hold up
            self._begun = self._begin(write.entries, hard_state=write.hard_state)
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
            self.failed(error)

    async def _store(self, write: Write) -> None:
        storage = self._storage
        if write.reset is not None:
            position, term = write.reset
            await self._with_room(lambda: storage.reset(position, term))
            self._reset(position)
        if _appends(write):
            entries, hard_state = write.entries, write.hard_state
            begun, self._begun = self._begun, None
            await self._with_room(lambda: storage.append(entries, hard_state=hard_state), begun)
        self.written(write.number)
        if write.compact is not None:  # nobody waits for that
            position = write.compact
            await self._with_room(lambda: storage.compact(position))

    async def _with_room(
        self,
        work: Callable[[], Awaitable[None]],
        begun: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Again while there is no room on the disk; nothing is promised meanwhile; `begun` is the first."""
        now = begun or work
        while True:
            try:
                await now()
            except StorageFull as error:
                now = work
                if not self.trouble:
                    self.trouble = str(error)
                    _logger.error("%s: %s", self._name, error)
                    self.full()
                await trio.sleep(_AGAIN)
            else:
                break
        if self.trouble:
            self.trouble = ""
            self.roomy()


def _appends(write: Write) -> bool:
    """Whether there is something to append; an engine may only want to let go of what is old."""
    return bool(write.entries) or write.hard_state is not None
