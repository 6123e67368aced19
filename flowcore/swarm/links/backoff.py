"""When a neighbour that cannot be reached is dialled again: later each time, and not all at once."""

from __future__ import annotations

import random


class Backoff:
    """Exponential, half of each wait drawn by chance ("equal jitter", Brooker 2015); in seconds."""

    def __init__(self, first: float, most: float, chance: random.Random) -> None:
        self._first = first
        self._most = most
        self._random = chance.random
        self.failures = 0

    def failed(self) -> float:
        """How long to wait after one more failure."""
        wait = min(self._most, self._first * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return wait * (0.5 + self._random() / 2)

    def stood(self, seconds: float) -> None:
        """A link stood for so long: one that breaks at once is as good as none."""
        if seconds >= self._most:
            self.failures = 0
