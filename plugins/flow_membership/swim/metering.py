"""How much goes through in a second, over the last ten."""

from __future__ import annotations

_SPAN = 10


class Meter:
    """Counts something, and how much of it there was of late."""

    def __init__(self, now: float) -> None:
        self.total = 0
        self._began = now
        self._slots = [0] * (_SPAN + 1)
        self._second = int(now)

    def add(self, amount: int, now: float) -> None:
        self.total += amount
        self._turn(now)
        self._slots[self._second % len(self._slots)] += amount

    def rate(self, now: float) -> float:
        """A second, over the last ten whole ones; over all if there were fewer."""
        self._turn(now)
        lasted = now - self._began
        if lasted < _SPAN:
            return self.total / max(lasted, 1e-3)
        this = self._second % len(self._slots)
        return (sum(self._slots) - self._slots[this]) / _SPAN

    def _turn(self, now: float) -> None:
        second = int(now)
        for past in range(self._second + 1, min(second, self._second + len(self._slots)) + 1):
            self._slots[past % len(self._slots)] = 0
        # after a long silence every slot is empty, whichever it is
        self._second = max(self._second, second)
