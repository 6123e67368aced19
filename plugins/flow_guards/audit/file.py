"""The file that lines are appended to. Blocking: used from a thread."""

from __future__ import annotations

import os
import pathlib
import stat

from flowcore.audit import Broken, Link, link_of
from flowcore.errors import AssemblyError

_TAIL = 1 << 20


class LogFile:
    """One log: the current file, and older ones beside it, named by the first line in them."""

    def __init__(self, path: pathlib.Path, rotate: int, keep: int, *, sync: bool) -> None:
        self._path = path
        self._rotate = rotate
        self._keep = keep
        self._sync = sync
        self._descriptor = _open(path)
        self._size = os.fstat(self._descriptor).st_size
        self._first: int | None = None

    def last(self, key: bytes | None) -> tuple[Link | None, int]:
        """(the last whole line, bytes of a torn one after it that were set aside).

        Raises AssemblyError if the last line is not right: a log that was tampered with is not gone on with.
        """
        data = os.pread(self._descriptor, _TAIL, max(0, self._size - _TAIL))
        whole = data[: data.rfind(b"\n") + 1]
        torn = data[len(whole) :]
        if torn:
            self._set_aside(torn)
        if not whole:
            if self._size > len(torn):
                raise AssemblyError(f"{self._path}: is no audit log")
            return self._before(key), len(torn)
        line = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        try:
            return link_of(line, key), len(torn)
        except Broken as error:
            raise AssemblyError(
                f"{self._path}: the last line {error}; keep that file, and give another name to go on"
            ) from None

    def _before(self, key: bytes | None) -> Link | None:
        """The last line of the newest older file, where the current one is empty."""
        older = self._older()
        if not older:
            return None
        data = older[-1].read_bytes()[-_TAIL:]
        line = data[data.rfind(b"\n", 0, -1) + 1 :]
        try:
            return link_of(line, key)
        except Broken as error:
            raise AssemblyError(f"{older[-1]}: the last line {error}") from None

    def _set_aside(self, torn: bytes) -> None:
        """Keep what a crash left of a line in a file of its own, so that the log goes on whole."""
        aside = self._path.with_name(self._path.name + ".torn")
        with os.fdopen(_open(aside), "ab") as file:
            file.write(torn + b"\n")
        self._size -= len(torn)
        os.ftruncate(self._descriptor, self._size)

    def append(self, lines: bytes, first: int) -> None:
        """Write lines, of which `first` is the first's number; all of them, or raise OSError and none."""
        if self._size and self._size + len(lines) > self._rotate:
            self._begin_another()
        if self._first is None:
            self._first = first if not self._size else self._first_of_file()
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if self._sync:
                os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(lines)

    def _first_of_file(self) -> int:
        line = os.pread(self._descriptor, 64, 0)
        return int(line.removeprefix(b'{"seq":').partition(b",")[0])

    def _begin_another(self) -> None:
        number = self._first if self._first is not None else self._first_of_file()
        path = self._path
        path.rename(path.with_name(f"{path.stem}.{number:012d}{path.suffix}"))
        fresh = _open(path)
        os.close(self._descriptor)
        self._descriptor, self._size, self._first = fresh, 0, None
        if self._keep:
            for old in self._older()[: -self._keep]:
                old.unlink(missing_ok=True)

    def _older(self) -> list[pathlib.Path]:
        path = self._path
        return sorted(path.parent.glob(f"{path.stem}.{'[0-9]' * 12}{path.suffix}"))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _open(path: pathlib.Path) -> int:
    """A file to append to, for its owner only. Raises AssemblyError."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise AssemblyError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AssemblyError(f"{path}: is no regular file")
    return descriptor
