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
from typing import Annotated

import msgspec
import trio

SLEW = 0.1
"""What it may run faster or slower than time passes, to come to what the wall clock says."""
FAR = 1.0
"""Seconds that clocks may differ by without a word."""

Moment = Annotated[float, msgspec.Meta(ge=0.0, le=1e11)]
"""Seconds since 1970: a number, and no more than some thousand years."""


class ClockTold(msgspec.Struct, frozen=True, array_like=True):
    """What a node tells another of the time."""

    wall: Moment
    """Its wall clock."""
    time: Moment | None
    """What time it is for its state; None: it does not know."""
    reckoned: Moment | None = None
    """What it reckons from its state where it does not know; None: it does, or its state has not begun."""

    def after(self, seconds: float) -> ClockTold:
        """What it would tell so much later."""
        wall, time, reckoned = (
            None if one is None else one + seconds for one in (self.wall, self.time, self.reckoned)
        )
        return ClockTold(wall or 0.0, time, reckoned)


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

    Until `believe` says what the wall clock is worth, it goes on from where the state is, and is good for no
    promise: the state may have gone on without this node. One that has not begun takes the wall clock's word.
    May be asked by any thread.
    """

    def __init__(self, wall: Callable[[], float], passed: Callable[[], float] = passed) -> None:
        self.wall = wall
        """The wall clock of this node."""
        self.settled = trio.Event()
        """It is known what the wall clock is worth."""
        self._passed = passed
        self._lock = threading.Lock()
        self._at = passed()
        self._time = self._state = 0.0
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

    def tell(self) -> ClockTold:
        """What others may know of it."""
        with self._lock:
            now = self._now()
        if self.settled.is_set():
            return ClockTold(self.wall(), self())
        return ClockTold(self.wall(), None, now or None)

    def hear(self, others: Sequence[ClockTold], voters: int, *, patient: bool = True) -> bool:
        """Go by what others tell now, if that is enough; `voters`: how many decide with this node.

        At first most of them must be heard. After all nodes were down, two that hear each other alone could
        else go by the wrong one of their clocks, and what they promise be over when the others are heard
        again. Fewer can agree to nothing. Where none knows the time, and those heard do not agree about it,
        it is also worth a wait for those who are missing, as long as one is `patient`.
        """
        mine = self.wall()
        ahead = [one.wall - mine for one in others]
        if not self.settled.is_set():
            heard = 1 + len(others)
            if 2 * heard <= voters:
                return False
            known = any(one.time is not None for one in others)
            apart = max([0.0, *ahead]) - min([0.0, *ahead]) > FAR
            if patient and apart and not known and heard < voters:
                return False
        self.believe(
            agreed(ahead),
            [one.time for one in others if one.time is not None],
            [one.reckoned for one in others if one.reckoned is not None],
            compared=True,
        )
        return True

    def believe(
        self,
        offset: float,
        others: Sequence[float] = (),
        reckoned: Sequence[float] = (),
        *,
        compared: bool = False,
    ) -> None:
        """The wall clock is worth something, with so many seconds added: at first at once, then slowly.

        Where others have gone on meanwhile (`others`: what time it is for them), at first that counts, and
        nothing that this node has reckoned alone. Where none has, the latest that any has `reckoned` counts:
        all who begin together go on from one time. Where it was `compared` with theirs, it counts as it is
        now: that it is set before it is compared again does not draw this node's time away from theirs.
        """
        with self._lock:
            now = self._now()
            self._compared = (self.wall(), self._at) if compared else None
            if self._offset is None and others:
                self._time = max(self._state, median_low(others))
            elif self._offset is None:
                self._time = max(now, self.wall() + offset, *reckoned)
            self._offset = offset
        self.settled.set()

    def seen(self, moment: float) -> None:
        """The state has come so far; 0: it has not begun."""
        if moment:
            with self._lock:
                self._state = max(self._state, moment)
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
