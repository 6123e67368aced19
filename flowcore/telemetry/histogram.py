"""A histogram of durations with fixed buckets: what a percentile costs nothing to keep."""

from __future__ import annotations

from bisect import bisect_left

import attrs

BOUNDS: tuple[float, ...] = tuple(
    round(scale * step, 9)
    for scale in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
)
"""Upper bounds of the buckets, in seconds, from 10 µs to 700 s; what is longer is in one more."""


@attrs.frozen
class Durations:
    """What a histogram has seen, in seconds; None where it has seen nothing.

    A percentile is the upper bound of the bucket it falls into, so at most 1.67 times too large.
    """

    count: int
    mean: float | None
    p50: float | None
    p99: float | None
    longest: float | None


class Histogram:
    """Counts durations by bucket."""

    __slots__ = ("_counts", "_longest", "_total", "count")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0
        self._longest = 0.0
        self.count = 0

    def record(self, seconds: float) -> None:
        """Take one duration in."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._total += seconds
        self.count += 1
        if seconds > self._longest:
            self._longest = seconds

    @property
    def mean(self) -> float | None:
        """The mean, None if there is nothing."""
        return self._total / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """The upper bound of the bucket in which the given share (0 to 1) of durations is reached."""
        if not self.count:
            return None
        left = share * self.count
        for bound, count in zip((*BOUNDS, self._longest), self._counts, strict=True):
            left -= count
            if left <= 0:
                return min(bound, self._longest)
        return self._longest

    def durations(self) -> Durations:
        """All that is known, as a frozen object."""
        return Durations(
            count=self.count,
            mean=self.mean,
            p50=self.percentile(0.50),
            p99=self.percentile(0.99),
            longest=self._longest if self.count else None,
        )
