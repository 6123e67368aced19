"""Who is let in when there is room for few: the important before the others. Sans-IO.

A limit of calls at a time that adapts itself, of which calls of lower priority may use only a part: under
overload those of low priority are refused first, then the normal ones.
"""

from __future__ import annotations

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.resilience.gradient import Gradient, GradientSettings

_LEAST_HINT = 0.05
"""A hint of less would only bring callers back at once, in seconds."""
_MOST_HINT = 30.0


@attrs.frozen(kw_only=True)
class SheddingSettings:
    """Which part of the limit each priority may use."""

    low: float = setting(
        0.7, validator=v.in_range(0, 1), help="the part that calls of low priority may fill"
    )
    normal: float = setting(
        0.9, validator=v.in_range(0, 1), help="the part that normal calls may fill"
    )

    def __attrs_post_init__(self) -> None:
        if self.low > self.normal:
            raise ValueError(f"expected low to be at most normal, not {self.low} and {self.normal}")


class Shedder:
    """Calls under way within a limit that follows from how long they take."""

    __slots__ = ("_admitted", "_offered", "_shares", "_window_ends", "gradient", "inflight", "load")

    def __init__(self, limit: GradientSettings, shares: SheddingSettings) -> None:
        self.gradient = Gradient(limit)
        self._shares = (shares.low, shares.normal, 1.0)
        self.inflight = 0
        """Calls under way."""
        self.load = 1.0
        """Calls that came in the last window, over those let in."""
        self._offered = self._admitted = 0
        self._window_ends = float("-inf")

    def admit(self, priority: int, now: float) -> bool:
        """Whether a call of this priority (0 to 2, 2 is high) is let in; `ended` follows if so."""
        if now >= self._window_ends:
            self._turn(now)
        self._offered += 1
        # somebody is always let in where nobody is: a limit says how many, not whether
        if self.inflight and self.inflight >= self.gradient.limit * self._shares[priority]:
            return False
        self.inflight += 1
        self._admitted += 1
        return True

    def ended(self, seconds: float | None, now: float) -> None:
        """A call that was let in ended after `seconds`; None if that says nothing of how busy it is there."""
        if seconds is not None:
            self.gradient.sample(seconds, self.inflight, now)
        self.inflight -= 1

    def retry_after(self) -> float:
        """When a refused call should come back: what it takes to serve all that come, in seconds."""
        return min(_MOST_HINT, max(_LEAST_HINT, self.gradient.short * self.load))

    def _turn(self, now: float) -> None:
        self.load = self._offered / self._admitted if self._admitted else 1.0
        self._offered = self._admitted = 0
        self._window_ends = now + self.gradient.settings.window
