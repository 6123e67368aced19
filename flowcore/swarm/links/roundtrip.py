"""How long a round trip takes, smoothed as in RFC 6298 section 2, and whether the peer still answers."""

from __future__ import annotations

import math


class RoundTrip:
    """Pings at intervals, and what their answers say. Sans-IO: times are given, in seconds."""

    def __init__(self, every: float, dead: float, now: float) -> None:
        self._every = every
        self._dead = dead
        self._next = now
        self._waits: tuple[int, float] | None = None
        self._measures = True
        self._numbers = 0
        self.smoothed: float | None = None
        self.variation = 0.0

    def due(self, now: float) -> int | None:
        """The number of a ping that is to be sent now, if one is."""
        if self._waits is not None or now < self._next:
            return None
        self._numbers += 1
        self._waits = self._numbers, now
        self._measures = True
        return self._numbers

    def answered(self, number: int, now: float) -> bool:
        """Take the answer to a ping; False if it is none."""
        if self._waits is None or self._waits[0] != number:
            return False
        took = max(0.0, now - self._waits[1])
        self._next = self._waits[1] + self._every
        self._waits = None
        if not self._measures:
            return True
        if self.smoothed is None:
            self.smoothed, self.variation = took, took / 2
        else:
            self.variation += (abs(self.smoothed - took) - self.variation) / 4
            self.smoothed += (took - self.smoothed) / 8
        return True

    def slept(self, seconds: float) -> None:
        """This side did nothing for so long: what has come meanwhile is unread, and nobody to blame."""
        if self._waits is not None:
            self._waits = self._waits[0], self._waits[1] + seconds
            self._measures = False

    def overdue(self, now: float) -> bool:
        """Whether an answer is waited for for so long that the link is dead."""
        return self._waits is not None and now - self._waits[1] >= self._dead

    @property
    def timeout(self) -> float:
        """Seconds after which an answer is late: RTO of RFC 6298, without its lower bound."""
        return math.inf if self.smoothed is None else self.smoothed + 4 * self.variation
