"""A histogram of what is no duration: shares, sizes."""

from __future__ import annotations

from bisect import bisect_left

from flowcore.telemetry.metrics import Distribution

SHARES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Bounds for what is between 0 and 1."""


class Spread:
    """Counts values by bucket; the bounds are given, ascending."""

    __slots__ = ("_bounds", "_counts", "_total", "count")

    def __init__(self, bounds: tuple[float, ...] = SHARES) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self.count = 0

    def record(self, value: float) -> None:
        """Take one value in."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value
        self.count += 1

    def distribution(self) -> Distribution:
        """How many were how large."""
        return Distribution(self._bounds, tuple(self._counts), self._total, self.count)
