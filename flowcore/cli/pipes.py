"""What a node says, to a pipe that may be full: whoever does not read it does not stop the node."""

from __future__ import annotations

import atexit
import logging
import os
import select
import threading
from collections import deque

PIECE = select.PIPE_BUF
"""Bytes that a pipe which is ready takes without waiting (POSIX.1-2017, write)."""
MOST = 1 << 20
"""Bytes that wait at most; further texts are dropped, and counted."""
PATIENCE = 1.0
"""Seconds that the end of the program waits for what has not been read."""


class Pipe:
    """Writes at once what the other side has room for; the rest waits for a thread, as far as there is room.

    A regular file always has room. The thread is started when something has to wait for the first time.
    All that is written to one file goes by one `Pipe` (`pipe_of`), or a text would be torn by another one.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._dropped = 0
        self._more = threading.Condition()
        self._writer: threading.Thread | None = None

    def write(self, text: str) -> None:
        """Write a text, or have it wait. Never blocks. Raises OSError if nobody is there to be told."""
        rest = text.encode(errors="backslashreplace")
        with self._more:
            if not self._waiting:
                rest = self._write_now(rest)
            if rest:
                self._wait(rest)

    def _write_now(self, data: bytes) -> bytes:
        """Write what there is room for; what is left."""
        while data and self._ready.poll(0):
            data = data[os.write(self._fd, data[:PIECE]) :]
        return data

    def _wait(self, data: bytes) -> None:
        if self._held + len(data) > MOST:
            self._dropped += 1
            return
        self._waiting.append(data)
        self._held += len(data)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="pipe", daemon=True)
            self._writer.start()
        self._more.notify_all()

    def _write(self) -> None:
        while True:
            with self._more:
                while not self._waiting:
                    self._more.wait()
                data = self._waiting[0]
                if len(self._waiting) == 1 and self._dropped:
                    data += f"{self._dropped} texts were dropped: nobody read them\n".encode()
                    self._dropped = 0
            self._write_whole(data)
            with self._more:
                self._held -= len(self._waiting.popleft())
                self._more.notify_all()

    def _write_whole(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            return  # nobody is there to be told

    def flush(self) -> None:
        """Wait until everything is written, at most PATIENCE seconds."""
        with self._more:
            self._more.wait_for(lambda: not self._waiting, PATIENCE)


_pipes: dict[tuple[int, int], Pipe] = {}


def pipe_of(fd: int) -> Pipe:
    """The pipe to an open file, the same for each descriptor of it. Raises OSError if it is not open."""
    about = os.fstat(fd)
    key = (about.st_dev, about.st_ino)
    if key not in _pipes:
        _pipes[key] = Pipe(fd)
        atexit.register(_pipes[key].flush)
    return _pipes[key]


class PipeHandler(logging.Handler):
    """Log lines, each a text of its own, to a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or have it wait. Never blocks; a line that cannot be formatted is told as such."""
        try:
            line = f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)
            return
        try:
            self._pipe.write(line)
        except OSError:
            return  # nobody is there to be told

    def flush(self) -> None:
        """Wait until everything is written, for a while."""
        self._pipe.flush()
