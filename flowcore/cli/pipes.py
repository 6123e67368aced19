"""Log lines to a pipe that may be full: whoever does not read them does not stop the node."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque

PIECE = select.PIPE_BUF
"""Bytes that a pipe which is ready takes without waiting (POSIX.1-2017, write)."""
MOST = 1 << 20
"""Bytes that wait at most; further lines are dropped, and counted."""
PATIENCE = 1.0
"""Seconds that the end of the program waits for what has not been read."""


class PipeHandler(logging.Handler):
    """Writes at once what the other side has room for; the rest waits for a thread, as far as there is room.

    A regular file always has room. The thread is started when something has to wait for the first time.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._dropped = 0
        self._more = threading.Condition()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or have it wait. Never blocks; a line that cannot be formatted is told as such."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:
            self.handleError(record)
            return
        with self._more:
            if not self._waiting:
                line = self._write_now(line)
            if line:
                self._wait(line)

    def _write_now(self, line: bytes) -> bytes:
        """Write what there is room for; what is left."""
        try:
            while line and self._ready.poll(0):
                line = line[os.write(self._fd, line[:PIECE]) :]
        except OSError:
            return b""  # nobody is there to be told
        return line

    def _wait(self, line: bytes) -> None:
        if self._held + len(line) > MOST:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._held += len(line)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="log", daemon=True)
            self._writer.start()
        self._more.notify_all()

    def _write(self) -> None:
        while True:
            with self._more:
                while not self._waiting:
                    self._more.wait()
                line = self._waiting[0]
                if len(self._waiting) == 1 and self._dropped:
                    line += self._apology()
            self._write_whole(line)
            with self._more:
                self._held -= len(self._waiting.popleft())
                self._more.notify_all()

    def _apology(self) -> bytes:
        lost, self._dropped = self._dropped, 0
        record = logging.LogRecord(
            __name__,
            logging.WARNING,
            __file__,
            0,
            "%d lines were dropped: nobody read them",
            (lost,),
            None,
        )
        return f"{self.format(record)}\n".encode()

    def _write_whole(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError:
            return  # nobody is there to be told

    def flush(self) -> None:
        """Wait until everything is written, at most PATIENCE seconds."""
        with self._more:
            self._more.wait_for(lambda: not self._waiting, PATIENCE)
