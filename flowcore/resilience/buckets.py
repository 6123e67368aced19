"""Token buckets: how often something may happen, in the long run and at once. Sans-IO.

In the form of the generic cell rate algorithm (GCRA; ITU-T I.371, annex A): a bucket is one number, the time
at which it will be full again. Credit needs no timer: it is the passing of that time. A bucket of `burst`
tokens at `rate` a second lets at most `burst + rate * t` through in any `t` seconds.

The clock is given with each question and should be monotonic. If it jumps ahead, a bucket is full and no
more; if it jumps back, a bucket counts as empty at worst, so nothing is blocked for longer than it takes to
fill.
"""

from __future__ import annotations

import math

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.resilience.remembered import Key, Remembered

ROUNDING = 1e-3
"""The part of a token that sums of floats may be wrong by."""


@attrs.frozen(kw_only=True)
class Rate:
    """How much passes: so much a second in the long run, and a burst at once after a pause."""

    rate: float = setting(
        1000.0, validator=v.gt(0), help="requests a second; 0.1 is one in ten seconds"
    )
    burst: int | None = setting(
        None,
        validator=v.ge(1),
        help="requests at once after a pause; unset: as many as pass in a second",
    )

    @property
    def at_once(self) -> int:
        """The burst that holds."""
        return max(1, math.ceil(self.rate)) if self.burst is None else self.burst


class Bucket:
    """One bucket."""

    __slots__ = ("_depth", "_full_at", "_token", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._token = 1.0 / rate.rate
        self._depth = (rate.at_once + ROUNDING) * self._token
        self._full_at = float("-inf")

    def wait(self, cost: float, now: float) -> float:
        """0.0 if `cost` tokens are there, else the seconds until they will be. Takes nothing.

        A cost of more than the burst is never there.
        """
        full_at = self._full_at
        if full_at <= now:
            full_at = now
        elif full_at - now > self._depth:
            full_at = self._full_at = now + self._depth  # the clock went back
        wait = full_at + cost * self._token - now - self._depth
        return wait if wait > 0.0 else 0.0

    def take(self, cost: float, now: float) -> None:
        """Take tokens that `wait` said are there."""
        full_at = self._full_at
        self._full_at = (full_at if full_at > now else now) + cost * self._token

    def tokens(self, now: float) -> float:
        """The tokens that are there."""
        missing = max(0.0, self._full_at - now) / self._token
        return max(0.0, self.rate.at_once - missing)


class Buckets:
    """A bucket for each key, all alike, `most` of them at most.

    Only what is not full needs to be remembered: a bucket that is full again is forgotten when room is
    needed. If every one that is remembered is in use, new keys are refused: to forget one would give its
    owner tokens for nothing.
    """

    __slots__ = ("_depth", "_known", "_token", "_until", "rate")

    def __init__(self, rate: Rate, most: int = 100_000) -> None:
        self.rate = rate
        self._token = 1.0 / rate.rate
        self._depth = (rate.at_once + ROUNDING) * self._token
        self._known = Remembered(most)
        self._until = self._known.until

    def __len__(self) -> int:
        """The buckets that are remembered; those in use are among them."""
        return len(self._until)

    def wait(self, key: Key, cost: float, now: float) -> float:
        """0.0 if `cost` tokens are there for the key, else the seconds until they may be. Takes nothing.

        A cost of more than the burst is never there.
        """
        full_at = self._until.get(key)
        if full_at is None:
            crowded = self._known.room(now)
            if crowded > 0.0:
                return crowded
            full_at = now
        elif full_at <= now:
            full_at = now
        elif full_at - now > self._depth:
            full_at = self._until[key] = now + self._depth  # the clock went back
        wait = full_at + cost * self._token - now - self._depth
        return wait if wait > 0.0 else 0.0

    def take(self, key: Key, cost: float, now: float) -> None:
        """Take tokens that `wait` said are there, at the same time `now`."""
        full_at = self._until.get(key)
        if full_at is None:
            self._known.add(key, now + cost * self._token)
        else:
            self._until[key] = (full_at if full_at > now else now) + cost * self._token

    def knows(self, key: Key) -> bool:
        """Whether the key has a bucket that is remembered: otherwise a wait may be for want of room."""
        return key in self._until
