"""Files that are read again when they change: keys, tokens, revocations."""

from __future__ import annotations

import logging
import os
import pathlib
import stat
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from flowcore.errors import AssemblyError

logger = logging.getLogger(__name__)

LARGEST = 256 << 10
"""Most bytes of such a file."""
_LOOK = 1.0
_T = TypeVar("_T")


class WatchedFile(Generic[_T]):
    """What is made of a file, made again when the file has changed; looked at once a second at most."""

    def __init__(self, path: pathlib.Path, read: Callable[[bytes], _T], what: str) -> None:
        self._path = path
        self._read = read
        self._what = what
        self._stamp = self._look()
        self._looked = trio.current_time()
        self.changes = 0
        try:
            self.value = self._load()
        except (OSError, ValueError) as error:
            raise AssemblyError(f"{what} {str(path)!r}: {said(error)}") from None

    def get(self) -> _T:
        """What the file says now; what it said before, if what it says now cannot be used."""
        now = trio.current_time()
        if now - self._looked >= _LOOK:
            self._looked = now
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self.value = self._load()
                except (OSError, ValueError) as error:
                    logger.error(
                        "%s %s cannot be used, going on with the old: %s",
                        self._what,
                        self._path,
                        said(error),
                    )
                else:
                    self.changes += 1
                    logger.info("%s %s was read again", self._what, self._path)
        return self.value

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> _T:
        # without O_NONBLOCK a named pipe would hold the node for ever
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is no regular file")
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"has more than {LARGEST} bytes")
        return self._read(data)


def said(error: BaseException) -> str:
    """What went wrong, in a few words for a person."""
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
