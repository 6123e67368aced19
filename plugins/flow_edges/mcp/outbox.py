"""Messages on their way to one reader, bounded, so that nobody ever waits for it."""

from __future__ import annotations

from collections import deque

import trio


class Outbox:
    """What is to be told to a stream that is not of any request."""

    def __init__(self, backlog: int) -> None:
        self._frames: deque[bytes] = deque()
        self._backlog = backlog
        self._news = trio.Event()
        self.closed = False
        self.dropped = 0

    def put(self, frame: bytes) -> None:
        """Add a message. Never blocks: what exceeds the backlog is dropped and counted."""
        if self.closed or len(self._frames) >= self._backlog:
            self.dropped += 1
            return
        self._frames.append(frame)
        self._news.set()

    def put_once(self, frame: bytes) -> None:
        """Add a message unless the same one is waiting already."""
        if frame not in self._frames:
            self.put(frame)

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._news.set()

    async def take(self) -> list[bytes]:
        """Wait for messages and give all there are; [] once it is closed and empty."""
        while not self._frames and not self.closed:
            self._news = trio.Event()
            await self._news.wait()
        frames = list(self._frames)
        self._frames.clear()
        return frames
