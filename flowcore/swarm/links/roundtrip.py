"""How long a round trip takes, smoothed as in RFC 6298 section 2, and whether the peer still answers."""

from __future__ import annotations

import math

_ASLEEP = 0.5
"""Seconds by which this side must be late itself before what it measures is worth nothing (a SIGSTOP)."""


class RoundTrip:
    """Pings at intervals, and what their answers say. Sans-IO: times are given, in seconds."""

    def __init__(self, every: float, dead: float, doubted: float, now: float) -> None:
        """A ping each `every` seconds; without an answer for `dead` seconds, or for `doubted` while there is
        doubt, nobody is there."""
        self._every = every
        self._dead = dead
        self._doubted = doubted
        self._next = now
        self._until = math.inf
        """When doubt becomes certainty."""
        self._patience = 0.0
        """For how long whoever is doubted is waited for, from when it was last heard."""
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
        self._until = math.inf
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

    def doubt(self, now: float, *, grave: bool = False) -> None:
        """Something else has had no answer: ask at once, and wait less long. Unless the doubt is grave, a
        link has as much longer as its answers may take (RFC 6298)."""
        late = 0.0 if grave or self.smoothed is None else self.timeout
        if grave or self._until == math.inf:
            self._until = min(self._until, now + self._doubted + late)
            self._patience = 0.0 if grave else self._doubted + late
            self._next = min(self._next, now)

    def heard(self, now: float) -> None:
        """Something else than an answer has come: who sends is there, but busy. Its answer is waited for
        anew, within what a link without doubt has."""
        if self._until < math.inf:
            self._until = max(self._until, now + self._patience)

    def slept(self, seconds: float) -> None:
        """This side did nothing for so long: what has come meanwhile is unread, and nobody to blame. Of short
        times, as a busy loop has them, doubt alone makes an account: death without it has time enough."""
        self._until += seconds
        if self._waits is not None and seconds > _ASLEEP:
            self._waits = self._waits[0], self._waits[1] + seconds
            self._measures = False

    def overdue(self, now: float) -> bool:
        """Whether an answer is waited for for so long that the link is dead."""
        if self._waits is None:
            return False
        return now - self._waits[1] >= self._dead or now >= self._until

    def waited(self, now: float) -> float:
        """Seconds that an answer has been waited for."""
        return 0.0 if self._waits is None else now - self._waits[1]

    @property
    def timeout(self) -> float:
        """Seconds after which an answer is late: RTO of RFC 6298, without its lower bound."""
        return math.inf if self.smoothed is None else self.smoothed + 4 * self.variation
