"""How often a request that comes drop by drop is looked at: what it costs is bounded by its time.

Each read costs as much as some kilobytes. Whoever sends a body byte by byte would make the server read a
million times; so after some reads that brought little, it looks again a little later: when as much time has
gone by as a small share of what the request has taken already. The kernel gathers what comes meanwhile, and
nobody who is slow is slowed by more than that share. Sans-IO but for the sleeping.
"""

from __future__ import annotations

import math

import trio

PLENTY = 32 << 10
"""Bytes of a read that is worth what it costs."""
FREE = 64
"""How many reads of less are made without a pause."""
LEAST = 0.002
"""Seconds of the shortest pause."""
SHARE = 0.02
"""A pause by what the request has taken: with it, and those before, a minute has some hundred reads."""


class Pace:
    """The pace at which one connection is read."""

    __slots__ = ("_began", "_reads", "due")

    def __init__(self) -> None:
        self._began = math.inf
        self._reads = 0
        self.due = False
        """Whether there should be a pause before the next read."""

    def begin(self) -> None:
        """Something has begun to come and is not whole, perhaps for a while already."""
        if self._began == math.inf:
            self._began, self._reads = trio.current_time(), 0

    def end(self) -> None:
        """It is whole."""
        self._began, self.due = math.inf, False

    def took(self, size: int) -> None:
        """A read has brought so many bytes."""
        if size < PLENTY and self._began != math.inf:
            self._reads += 1
            self.due = self._reads > FREE

    async def pause(self) -> None:
        """Wait until it is worth while to read."""
        self.due = False
        await trio.sleep(max(LEAST, (trio.current_time() - self._began) * SHARE))
