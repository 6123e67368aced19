"""Everything that goes out on one channel, a line each, in order."""

from __future__ import annotations

from collections import deque

import trio

from flow_edges.mcp_stdio.descriptors import Send
from flowcore.mcp import one_line


class Writer:
    """Writes lines one after the other. Nobody waits for it but who asks it to flush."""

    def __init__(self, send: Send, backlog: int) -> None:
        self._send = send
        self._backlog = backlog
        self._lines: deque[bytes] = deque()
        self._news = trio.Event()
        self._written = trio.Event()
        self._writing = False
        self._size = 0
        self.broken = False
        self.dropped = 0

    def put(self, frame: bytes) -> None:
        """Add a message. It is not dropped unless nobody reads any more."""
        if not self.broken:
            self._lines.append(one_line(frame))
            self._size += len(frame)
            self._news.set()

    def offer(self, frame: bytes) -> None:
        """Add a message that may be dropped (and is counted) where too many wait."""
        if len(self._lines) >= self._backlog:
            self.dropped += 1
        else:
            self.put(frame)

    async def run(self) -> None:
        """Write what comes, until cancelled or until nobody reads any more."""
        while not self.broken:
            if not self._lines:
                self._news = trio.Event()
                await self._news.wait()
            lines, size = list(self._lines), self._size
            self._lines.clear()
            self._writing = True
            try:
                await self._send(b"".join([line + b"\n" for line in lines]))
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                self.broken = True
                self._lines.clear()
            self._writing = False
            self._size -= size
            self._written.set()

    async def room(self, most: int) -> None:
        """Wait until less than so many bytes wait to be written, or nobody reads any more."""
        while self._size >= most and not self.broken:
            self._written = trio.Event()
            await self._written.wait()

    async def flush(self) -> None:
        """Wait until all that was put has been written, or nobody reads any more."""
        while (self._lines or self._writing) and not self.broken:
            self._written = trio.Event()
            await self._written.wait()
