"""Room for a write-ahead log, taken before it is needed.

A commit that makes its file longer has the file system write down where the new part is, and in ext4 wait for
what others have written meanwhile: 0.24 ms in place of 0.15 on an idle disk, and many times that on a busy
one. SQLite writes its log from the beginning again after each checkpoint, so this is over once the log was as
long as it gets; here it is over sooner, as zeros are put behind it. SQLite takes these for the end.
"""

from __future__ import annotations

import os
import pathlib

_BEGIN = 128 * 1024
"""Bytes of a log that is too short to care."""
_STEP = 2 * 2**20
"""Bytes that are added at once, at most: what is to be committed waits meanwhile."""
ENOUGH = 20 * 2**20
"""Bytes from which on nothing is added: checkpoints come before."""
SPARE = 256 * 2**20
"""Bytes that a disk has free at least, or nothing is taken before it is needed."""


class Room:
    """The length of a log, looked at and made greater in the thread that writes it."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._size = max(_BEGIN, self._now())
        self.short = False
        """Whether the log has outgrown what was reserved."""

    def look(self) -> None:
        """See how long it is now."""
        self.short = self._size < self._now() < ENOUGH

    def _now(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:  # it is not there yet
            return 0

    def reserve(self) -> None:
        """Add to it, as far as the disk has room to spare; what fails here, the next commit shows."""
        self.short = False
        try:
            descriptor = os.open(self._path, os.O_WRONLY)
            try:
                size = os.fstat(descriptor).st_size
                disk = os.fstatvfs(descriptor)
                if disk.f_bavail * disk.f_frsize >= SPARE:
                    self._size = size + min(max(size, _BEGIN), _STEP)
                    os.pwrite(descriptor, bytes(self._size - size), size)
                    os.fdatasync(descriptor)
                else:
                    self._size = ENOUGH
            finally:
                os.close(descriptor)
        except OSError:
            self._size = ENOUGH
