"""What came of the last calls: counted over a time, or over a number of calls. Sans-IO."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs

BUCKETS = 10
"""Parts of a time window. What is older than the window by less than one part may still be counted out."""


@attrs.define
class Counts:
    """Calls, and how many of them failed or were slow."""

    calls: int = 0
    failed: int = 0
    slow: int = 0


class Window(Protocol):
    """The calls that count now."""

    counts: Counts

    def add(self, now: float, failed: bool, slow: bool) -> None:
        """A call ended."""
        ...

    def look(self, now: float) -> Counts:
        """The counts as of now."""
        ...


class TimeWindow:
    """The calls that ended in the last `seconds`, forgotten a tenth of that at a time (as in Hystrix).

    A clock that goes back adds to the newest part; one that jumps ahead forgets what is too old.
    """

    __slots__ = ("_newest", "_parts", "_per_second", "counts")

    def __init__(self, seconds: float) -> None:
        self.counts = Counts()
        self._per_second = BUCKETS / seconds
        self._parts: deque[tuple[int, Counts]] = deque()
        """Parts that have calls, oldest first, by the number of their time."""
        self._newest = Counts()

    def add(self, now: float, failed: bool, slow: bool) -> None:
        number = int(now * self._per_second)
        parts = self._parts
        if not parts or number > parts[-1][0]:
            self._expire(number)
            self._newest = Counts()
            parts.append((number, self._newest))
        counts, newest = self.counts, self._newest
        counts.calls += 1
        newest.calls += 1
        if failed:
            counts.failed += 1
            newest.failed += 1
        if slow:
            counts.slow += 1
            newest.slow += 1

    def look(self, now: float) -> Counts:
        self._expire(int(now * self._per_second))
        return self.counts

    def _expire(self, number: int) -> None:
        parts, counts = self._parts, self.counts
        while parts and parts[0][0] <= number - BUCKETS:
            old = parts.popleft()[1]
            counts.calls -= old.calls
            counts.failed -= old.failed
            counts.slow -= old.slow


class CountWindow:
    """The last `most` calls, however long ago."""

    __slots__ = ("_last", "_most", "counts")

    def __init__(self, most: int) -> None:
        self.counts = Counts()
        self._most = most
        self._last: deque[tuple[bool, bool]] = deque()

    def add(self, now: float, failed: bool, slow: bool) -> None:
        del now
        counts, last = self.counts, self._last
        if len(last) >= self._most:
            old_failed, old_slow = last.popleft()
            counts.calls -= 1
            counts.failed -= old_failed
            counts.slow -= old_slow
        last.append((failed, slow))
        counts.calls += 1
        counts.failed += failed
        counts.slow += slow

    def look(self, now: float) -> Counts:
        del now
        return self.counts
