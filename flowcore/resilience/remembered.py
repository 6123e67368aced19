"""A bounded memory of keys, each of which must be kept until a time of its own. Sans-IO.

What limits remember of strangers must not grow without end, and a stranger must not be able to have it
forgotten. So a key is forgotten only once its time is over: the memory of a bucket that is full again, or of
a failure that is forgiven, says the same as no memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeAlias

Key: TypeAlias = str | tuple[str, ...]

_AT_ONCE = 4
"""Keys looked at for each new one, so that those whose time is over go a few at a time."""


def _nothing(key: Key) -> None:
    del key


class Remembered:
    """Keys by the time until which each must be kept, at most `most` of them.

    The heap holds one entry per key, with the time as it was when the entry was made. Times only grow, so an
    entry is never later than its key's true time: the first entry, once brought up to date, is the true
    least. Each update that a later look finds was paid for by one use of the key.
    """

    def __init__(self, most: int, forgotten: Callable[[Key], None] = _nothing) -> None:
        self.most = most
        self.until: dict[Key, float] = {}
        """Write to it only for keys that are in it; new ones come in by `add`."""
        self._queue: list[tuple[float, Key]] = []
        self._forgotten = forgotten

    def __len__(self) -> int:
        return len(self.until)

    def add(self, key: Key, until: float) -> None:
        """Remember a new key. There must be room."""
        self.until[key] = until
        heapq.heappush(self._queue, (until, key))

    def room(self, now: float) -> float:
        """0.0 if there is room for another key, else the seconds until there may be."""
        queue, until = self._queue, self.until
        looks = _AT_ONCE
        while queue and queue[0][0] <= now and (looks > 0 or len(until) >= self.most):
            looks -= 1
            self._look(now)
        if len(until) < self.most:
            return 0.0
        return queue[0][0] - now

    def forget_soonest(self) -> None:
        """Make room whatever it costs: forget the key whose time would be over first."""
        queue, until = self._queue, self.until
        while True:
            known, key = queue[0]
            if until[key] <= known:
                heapq.heappop(queue)
                self._forget(key)
                return
            heapq.heapreplace(queue, (until[key], key))

    def _look(self, now: float) -> None:
        """Bring the first entry up to date, or forget its key if its time is over."""
        queue = self._queue
        key = queue[0][1]
        until = self.until[key]
        if until > now:
            heapq.heapreplace(queue, (until, key))
        else:
            heapq.heappop(queue)
            self._forget(key)

    def _forget(self, key: Key) -> None:
        del self.until[key]
        self._forgotten(key)
