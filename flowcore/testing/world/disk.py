"""A disk as crashes leave it: what was not synced may be lost, the last record torn, a sector rotten.

Writes are seen by the process at once and are durable when a `sync` that began after them has ended, as with
write(2) and fsync(2). A crash keeps some prefix of what was not synced yet.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

from flowcore.testing.world.links import Latency, uniform
from flowcore.testing.world.timeline import Timeline

Synced = Callable[[OSError | None], None]
"""What is called when a sync has ended: with None if all is durable that was written before it began."""

_Write = tuple[str, bytes | None, bool]
"""File, bytes (None: removed), and whether they follow what is there or take its place."""


class Disk:
    """The files of one node. They outlive its crashes."""

    def __init__(self, time: Timeline, tell: Callable[..., None] | None = None) -> None:
        self._time = time
        self._tell = tell or _now
        self.latency: Latency = uniform(0.0002, 0.002)
        """How long a sync takes."""
        self.full = False
        """Whether writes are refused with ENOSPC."""
        self.failing = 0
        """How many of the next syncs fail with EIO. What they were to make durable may be lost, although the
        process goes on seeing it, as in Linux."""
        self.syncs = 0
        """How many have ended well."""
        self._durable: dict[str, bytearray] = {}
        self._seen: dict[str, bytearray] = {}
        self._pending: list[_Write] = []
        self._written = 0
        """How many writes there were; those before `_written - len(_pending)` are settled."""
        self._busy_until = 0.0
        self._life = 0

    # ---- for the process

    def read(self, file: str) -> bytes:
        """What is in a file, as the process sees it; empty if there is none."""
        return bytes(self._seen.get(file, b""))

    def size(self, file: str) -> int:
        """Its bytes."""
        return len(self._seen.get(file, b""))

    def append(self, file: str, data: bytes) -> None:
        """Add bytes at the end. Raises OSError if the disk is full; nothing is written then."""
        self._write((file, data, True))

    def replace(self, file: str, data: bytes) -> None:
        """Put other content in its place, whole or not at all, as by a rename. Raises OSError as `append`."""
        self._write((file, data, False))

    def cut(self, file: str, size: int) -> None:
        """Keep so many bytes of a file, and no more, which a full disk does, too."""
        self._note((file, bytes(self._seen.get(file, b"")[:size]), False))

    def remove(self, file: str) -> None:
        """There is no such file any more."""
        self._write((file, None, False))

    def sync(self, done: Synced) -> None:
        """Make durable what has been written so far; `done` is called later, unless the node crashes before.

        Syncs end in the order in which they began.
        """
        time = self._time
        due = max(self._busy_until, time.now + self.latency(time.random))
        self._busy_until = due
        time.at(due, self._end_sync, self._life, self._written, done)

    # ---- for who runs the world

    def lose_unsynced(self) -> None:
        """Be as after a crash: some of what was not synced is there, in order; the last of it may be torn."""
        chance, waiting = self._time.random, self._pending
        kept = chance.randint(0, len(waiting))
        for write in waiting[:kept]:
            _apply(self._durable, write)
        if kept < len(waiting) and chance.random() < 0.5:
            self._tear(waiting[kept], chance)
        self._settle()

    def corrupt(self, file: str, offset: int, xor: int = 0x40) -> None:
        """Change a byte of what is durable, as a rotten sector would."""
        for files in (self._durable, self._seen):
            if offset < len(files.get(file, b"")):
                files[file][offset] ^= xor

    def wipe(self) -> None:
        """A new disk in the place of the old one."""
        self._durable.clear()
        self._pending.clear()
        self._settle()

    def durable(self, file: str) -> bytes:
        """What a crash cannot take any more."""
        return bytes(self._durable.get(file, b""))

    def _write(self, write: _Write) -> None:
        if self.full and write[1] is not None:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk")
        self._note(write)

    def _note(self, write: _Write) -> None:
        _apply(self._seen, write)
        self._pending.append(write)
        self._written += 1

    def _end_sync(self, life: int, written: int, done: Synced) -> None:
        if life != self._life:
            return  # the node has crashed since
        count = len(self._pending) - (self._written - written)
        mine = self._pending[: max(0, count)]
        del self._pending[: len(mine)]
        if self.failing:
            self.failing -= 1
            for write in mine[: self._time.random.randint(0, len(mine))]:
                _apply(self._durable, write)
            error = OSError(errno.EIO, "input/output error of the simulated disk")
            self._tell(self._done, life, done, error)
            return
        for write in mine:
            _apply(self._durable, write)
        self.syncs += 1
        self._tell(self._done, life, done, None)

    def _done(self, life: int, done: Synced, error: OSError | None) -> None:
        if life == self._life:
            done(error)

    def _tear(self, write: _Write, chance: random.Random) -> None:
        file, data, follows = write
        if not follows or not data:
            return  # a rename is whole or not there
        part = data[: chance.randrange(len(data))]
        if chance.random() < 0.3:  # its length was written, and its end was not
            part += bytes(len(data) - len(part))
        _apply(self._durable, (file, part, True))

    def _settle(self) -> None:
        self._pending.clear()
        self._seen = {file: bytearray(data) for file, data in self._durable.items()}
        self._life += 1
        self._busy_until = 0.0


def _now(call: Callable[..., None], *args: Any) -> None:
    call(*args)


def _apply(files: dict[str, bytearray], write: _Write) -> None:
    file, data, follows = write
    if data is None:
        files.pop(file, None)
    elif follows and file in files:
        files[file] += data
    else:
        files[file] = bytearray(data)
