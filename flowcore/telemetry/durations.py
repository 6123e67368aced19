"""A histogram of durations with fixed buckets: what a percentile costs nothing to keep."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache

import attrs

from flowcore.telemetry.metrics import Distribution

BOUNDS: tuple[float, ...] = tuple(
    round(scale * step, 9)
    for scale in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
)
"""Upper bounds of the buckets, in seconds, from 10 µs to 700 s; what is longer is in one more."""

TOLD: tuple[float, ...] = tuple(
    round(scale * step, 9)
    for scale in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    for step in (5.0, 10.0, 20.0)
)
"""The bounds that are told outside: 1, 2 and 5 of each power of ten, from 0.5 ms to 200 s."""
FINE: tuple[float, ...] = tuple(
    round(scale * step, 9) for scale in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1) for step in (1.0, 2.0, 5.0)
)
"""The same of what is quick, such as writing to a disk: from 10 µs to 0.5 s."""


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

    def add(self, other: Histogram) -> None:
        """Take in all that another one has seen."""
        self._counts = [mine + its for mine, its in zip(self._counts, other._counts, strict=True)]
        self._total += other._total
        self.count += other.count
        self._longest = max(self._longest, other._longest)

    def distribution(self, bounds: tuple[float, ...] = TOLD) -> Distribution:
        """How many were how long, by some of `BOUNDS`: exact, since each of its buckets is whole in one."""
        counts, start = [], 0
        for end in _ends(bounds):
            counts.append(sum(self._counts[start:end]))
            start = end
        return Distribution(bounds, tuple(counts), self._total, self.count)

    def durations(self) -> Durations:
        """All that is known, as a frozen object."""
        return Durations(
            count=self.count,
            mean=self.mean,
            p50=self.percentile(0.50),
            p99=self.percentile(0.99),
            longest=self._longest if self.count else None,
        )


def total(histograms: Iterable[Histogram]) -> Histogram:
    """All that several have seen, as one."""
    sum_ = Histogram()
    for one in histograms:
        sum_.add(one)
    return sum_


@lru_cache(8)
def _ends(bounds: tuple[float, ...]) -> tuple[int, ...]:
    """Where the buckets of these bounds end, among those of all."""
    return (*(BOUNDS.index(bound) + 1 for bound in bounds), len(BOUNDS) + 1)
