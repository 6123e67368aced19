"""What a process writes: its output as lines of bounded length, its stderr as a bounded tail."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

import trio

from flowcore.processes.errors import LineTooLong

CHUNK = 65536
"""Bytes read at a time: as much as a pipe holds."""


TURN = 32
"""Lines of one read after which others have their turn: a flood of short ones is thousands a read."""


class Source:
    """The reading end of a pipe from a process. It ends with the process, whoever else may hold the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._process_ended = False
        self._waiting: trio.CancelScope | None = None

    async def receive(self) -> bytes:
        """The next bytes; b"" when there will be no more."""
        while True:
            if self._process_ended:
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope() as self._waiting:
                    await trio.lowlevel.wait_readable(self._fd)
                self._waiting = None
            try:
                return os.read(self._fd, CHUNK)
            except BlockingIOError:
                if self._process_ended:
                    return b""

    def process_ended(self) -> None:
        """Nobody writes any more: what is in the pipe is the rest."""
        self._process_ended = True
        if self._waiting is not None:
            self._waiting.cancel()

    def close(self) -> None:
        """Close our end."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            trio.lowlevel.notify_closing(fd)
            os.close(fd)


class Lines:
    """The lines of a process's output, in order, without their b"\\n"; an async iterator.

    It holds at most one unfinished line of `max_bytes`, and what one read gave. A process that writes faster
    than lines are taken has to wait. Iteration ends with the output, or with the process; it raises
    LineTooLong as soon as a line grows beyond the bound, and again on every further try.
    """

    def __init__(self, source: Source, max_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._ready: deque[bytes] = deque()
        self._given = 0  # since others had their turn
        self._unfinished = bytearray()
        self._ended = False
        self._too_long = False

    @property
    def remainder(self) -> bytes:
        """What came after the last b"\\n": once the output has ended, a line that was never finished."""
        return bytes(self._unfinished)

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self._too_long:
                raise LineTooLong(self._max_bytes)
            if self._ended:
                raise StopAsyncIteration
            self._take(await self._source.receive())
            self._given = 0
        if self._given == TURN:
            await trio.lowlevel.checkpoint()
            self._given = 0
        self._given += 1
        return self._ready.popleft()

    def _take(self, chunk: bytes) -> None:
        if not chunk:
            self._ended = True
            return
        *lines, last = chunk.split(b"\n")
        if self._unfinished and lines:
            lines[0] = bytes(self._unfinished + lines[0])
            self._unfinished.clear()
        self._unfinished += last
        for line in lines:
            if len(line) > self._max_bytes:
                self._too_long = True
                break
            self._ready.append(line)
        if self._too_long or len(self._unfinished) > self._max_bytes:
            self._too_long = True
            self._unfinished.clear()


LONGEST_STDERR_LINE = 4096
"""Bytes of a stderr line that are kept; the rest of it is dropped."""

# what could move the cursor or colour the terminal of whoever reads the status
_HARMLESS = dict.fromkeys((*range(32), *range(127, 160)), "�") | {9: "\t"}


class Tail:
    """The last lines that a process wrote to stderr, which is always read, whatever it writes."""

    def __init__(self, lines: int, tell: Callable[[str], None] | None) -> None:
        self._lines: deque[bytes] = deque(maxlen=lines)
        self._tell = tell
        self._unfinished = b""

    async def drain(self, source: Source) -> None:
        """Read until the end. Of what comes at once only the lines that are kept are looked at."""
        most = self._lines.maxlen or 0
        while chunk := await source.receive():
            *lines, last = (self._unfinished + chunk).rsplit(b"\n", most + 1)
            self._unfinished = last[:LONGEST_STDERR_LINE]
            for line in lines[-most:] if most else ():
                self._keep(line)
        if self._unfinished:
            self._keep(self._unfinished)
            self._unfinished = b""

    def _keep(self, line: bytes) -> None:
        line = line[:LONGEST_STDERR_LINE]
        self._lines.append(line)
        if self._tell is not None:
            self._tell(readable(line))

    def lines(self) -> tuple[str, ...]:
        """The lines, the oldest first, as text that is safe to show; an unfinished one included."""
        unfinished = [self._unfinished] if self._unfinished else []
        last = deque([*self._lines, *unfinished], self._lines.maxlen)
        return tuple(map(readable, last))


def readable(line: bytes) -> str:
    """A line as text without control characters, whatever it holds."""
    return line.rstrip(b"\r").decode(errors="replace").translate(_HARMLESS)
