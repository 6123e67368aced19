"""How many calls at a time an agent can take, found out from how long they take. Sans-IO.

The gradient algorithm, second form (Netflix concurrency-limits, `Gradient2Limit` and `WindowedLimit`,
https://github.com/Netflix/concurrency-limits, Apache-2.0): while calls take about as long as they always
did, the limit grows a little; when they take longer by more than a tolerance, they wait for each other
somewhere, and the limit shrinks in proportion. It needs no number that somebody would have to know.

Unlike there, a window in which few calls end goes on until enough have: an agent that does one call in ten
seconds has a limit that follows it, too.
"""

from __future__ import annotations

import math

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v

_WARM_UP = 10
"""Windows whose plain mean is the long average, before it becomes an exponential one."""
_LEAST_GRADIENT = 0.5
"""A limit is at most halved at a time, whatever an outlier says."""
_FORGET = 0.95
"""What is left of a long average that is more than twice the present one, after each window: times were bad
and are good again."""
_SHORTEST = 1e-4
"""Calls shorter than this say nothing, in seconds: they never reached what they were for."""


@attrs.frozen(kw_only=True)
class GradientSettings:
    """How the limit of calls at a time is found."""

    initial: int = setting(20, validator=v.ge(1), help="the limit at first")
    least: int = setting(5, validator=v.ge(1), help="the smallest limit")
    most: int = setting(200, validator=v.ge(1), help="the largest limit")
    tolerance: float = setting(
        1.5,
        validator=v.ge(1),
        help="how many times as long as on average calls may take before the limit shrinks",
    )
    queue: int = setting(
        4, validator=v.ge(0), help="calls that may wait for others; by so much the limit can grow"
    )
    smoothing: float = setting(
        0.2, validator=v.in_range(0.01, 1), help="the part of a new limit that is taken at once"
    )
    window: Duration = setting(
        1.0, validator=v.gt(0), help="how long calls are watched at least before each step"
    )
    samples: int = setting(10, validator=v.ge(1), help="calls that a step needs at least")
    long_window: int = setting(
        600, validator=v.ge(1), help="windows over which the long average is taken"
    )

    def __attrs_post_init__(self) -> None:
        if not self.least <= self.initial <= self.most:
            raise ValueError(
                "expected least, initial and most in this order,"
                f" not {self.least}, {self.initial} and {self.most}"
            )


class Gradient:
    """One limit, and what it follows from."""

    __slots__ = (
        "_calls",
        "_ends",
        "_inflight",
        "_seconds",
        "_sum",
        "_windows",
        "limit",
        "long",
        "settings",
        "short",
    )

    def __init__(self, settings: GradientSettings) -> None:
        self.settings = settings
        self.limit = float(settings.initial)
        self.short = 0.0
        """What calls took in the last window on average, in seconds."""
        self.long = 0.0
        """What they take usually."""
        self._windows = 0
        self._sum = 0.0
        self._ends = -math.inf
        self._calls = 0
        self._seconds = 0.0
        self._inflight = 0

    def sample(self, seconds: float, inflight: int, now: float) -> None:
        """A call ended after `seconds`; `inflight` calls were under way, it included."""
        if seconds < _SHORTEST:
            return
        self._calls += 1
        self._seconds += seconds
        if inflight > self._inflight:
            self._inflight = inflight
        if now >= self._ends and self._calls >= self.settings.samples:
            self._step(now)

    def _step(self, now: float) -> None:
        """The window is over, and enough calls have ended in it."""
        self._update(self._seconds / self._calls, self._inflight)
        self._ends = now + self.settings.window
        self._calls = self._inflight = 0
        self._seconds = 0.0

    def _update(self, short: float, inflight: int) -> None:
        settings = self.settings
        self.short = short
        if self._windows < _WARM_UP:
            self._windows += 1
            self._sum += short
            self.long = self._sum / self._windows
        else:
            self.long += (short - self.long) * 2.0 / (settings.long_window + 1)
        long = self.long
        if long > 2.0 * short:
            self.long *= _FORGET
        if inflight < self.limit / 2:
            return  # it is not the limit that keeps calls few
        gradient = max(_LEAST_GRADIENT, min(1.0, settings.tolerance * long / short))
        target = self.limit * gradient + settings.queue
        limit = self.limit + (target - self.limit) * settings.smoothing
        self.limit = max(float(settings.least), min(float(settings.most), limit))
