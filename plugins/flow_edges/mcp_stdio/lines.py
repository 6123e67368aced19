"""Lines of bounded length out of a stream of bytes; one that is too long is skipped, and told."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from flowcore.errors import FlowError


class LineTooLong(FlowError):
    """A line was longer than allowed; it was skipped, and the next one can be read."""


class Lines:
    """Reads line by line. It never holds more than one line's bound and one read."""

    def __init__(self, receive: Callable[[], Awaitable[bytes]], limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._ready: deque[bytes | None] = deque()
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._ended = False

    async def next(self) -> bytes | None:
        """The next line without its end; None at the end of the stream, where a last line needs no end.

        Raises LineTooLong once for each line that is.
        """
        while not self._ready:
            if self._ended:
                return None
            self._feed(await self._receive())
        line = self._ready.popleft()
        if line is None:
            raise LineTooLong(f"a message has more than {self._limit} bytes")
        return line

    def _feed(self, data: bytes) -> None:
        if not data:
            self._ended = True
            if self._parts:
                self._finish(b"")
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._finish(line)
        if rest:
            self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._skipping = True
            self._parts.clear()
        elif not self._skipping:
            self._parts.append(piece)

    def _finish(self, piece: bytes) -> None:
        self._add(piece)
        if self._skipping:
            self._ready.append(None)
        else:
            self._ready.append(b"".join(self._parts))
        self._parts.clear()
        self._size = 0
        self._skipping = False
