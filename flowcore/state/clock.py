"""The time of commands: it goes on evenly, whatever the wall clock of a node does.

What expires in the state (leases, claims, keys, whatever has a time to live) does so by the times of
commands, and those never go back. Were they what a wall clock says, one clock that is an hour ahead would end
all leases of all nodes at once, and from then on nothing would end for an hour. So a node reckons: from the
last time that the state has come to it counts on by what has passed since, and is drawn towards the wall
clock slowly, as NTP slews a clock (RFC 5905, section 12). Holders of leases allow for more than that
(`flowcore.durable.singleton`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from statistics import median_low

import trio

SLEW = 0.1
"""What it may run faster or slower than time passes, to come to what the wall clock says."""


def passed() -> float:
    """Seconds that no setting of a clock moves; a machine that is suspended counts them, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def agreed(others: Sequence[float]) -> float:
    """What to add to a wall clock for that of most nodes; `others`: seconds by which theirs are ahead of it.

    The middle one, this node's own among them; of two the one that is behind, which does no harm. So as long
    as most clocks are right, one that is not counts for nothing.
    """
    return median_low([0.0, *others])


class StateClock:
    """Seconds since 1970, as far as can be known; never less than before, and no leap but at first.

    Until `believe` says what the wall clock is worth, it goes on from where the state is; one that has not
    begun takes the wall clock's word. May be asked by any thread.
    """

    def __init__(self, wall: Callable[[], float], passed: Callable[[], float] = passed) -> None:
        self.wall = wall
        """The wall clock of this node."""
        self.settled = trio.Event()
        """It is known what the wall clock is worth."""
        self._passed = passed
        self._lock = threading.Lock()
        self._at = passed()
        self._time = 0.0
        self._offset: float | None = None
        self.most_ahead: float | None = None
        """Seconds that the time may be ahead of `corrected`, whatever the state says; None: any."""
        self._compared: tuple[float, float] | None = None
        """What the wall clock said when it was compared with others', and when that was."""

    def __call__(self) -> float:
        """The time now."""
        with self._lock:
            now = self._now() or self.wall()
            if self.most_ahead is None:
                return now
            return min(now, self._corrected() + self.most_ahead)

    def corrected(self) -> float:
        """The wall clock, held to those of others as far as it was compared with them: no state draws it."""
        with self._lock:
            self._now()
            return self._corrected()

    @property
    def offset(self) -> float | None:
        """What is added to this node's wall clock; None: it is not believed yet."""
        return self._offset

    def believe(
        self, offset: float, others: Sequence[float] = (), *, compared: bool = False
    ) -> None:
        """The wall clock is worth something, with so many seconds added: at first at once, then slowly.

        Where others have gone on meanwhile (`others`: what time it is for them), at first that counts. Where
        it was `compared` with theirs, it counts as it is now: that it is set before it is compared again does
        not draw this node's time away from theirs.
        """
        with self._lock:
            now = self._now()
            self._compared = (self.wall(), self._at) if compared else None
            if self._offset is None:
                self._time = max(now, median_low(others) if others else self.wall() + offset)
            self._offset = offset
        self.settled.set()

    def seen(self, moment: float) -> None:
        """The state has come so far; 0: it has not begun."""
        if moment:
            with self._lock:
                self._time = max(self._now(), moment)

    def _now(self) -> float:
        """The time, or 0 where nothing is known of it."""
        at = self._passed()
        gone, self._at = max(0.0, at - self._at), at
        if self._time:
            self._time += gone
        if self._offset is not None:
            lacks = self._corrected() - self._time
            self._time += min(max(lacks, -SLEW * gone), SLEW * gone)
        return self._time

    def _corrected(self) -> float:
        if self._compared is None:
            return self.wall() + (self._offset or 0.0)
        wall, then = self._compared
        return wall + self._at - then + (self._offset or 0.0)
