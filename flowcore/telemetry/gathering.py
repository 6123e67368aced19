"""Readings put together to families: checked, bounded in number, and never going back. Sans-IO."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

from flowcore.telemetry.metrics import Distribution, Kind, Metric, Number, Reading
from flowcore.telemetry.snapshot import Point

MOST_POINTS = 20_000
"""Points of one metric; what is more is left out and counted."""
_MOST_KNOWN = 500_000
_LONGEST = 256
"""Characters of a label's value; a longer one is cut."""


class WrongReading(Exception):
    """A reading that is none: the metric, and what is wrong."""


class Sums:
    """What counters have told, so that none goes back.

    A part that is opened anew counts from zero again; the sum goes on from where it was. What it counted
    between the last reading and its end is not known, and missing.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[Metric, tuple[str, ...]], Number] = {}
        self._base: dict[tuple[Metric, tuple[str, ...]], Number] = {}

    def total(self, metric: Metric, labels: tuple[str, ...], value: Number) -> Number:
        """The sum, given what whoever counts says now."""
        key = metric, labels
        last = self._last.get(key)
        if last is None:
            if len(self._last) >= _MOST_KNOWN:
                self._last.clear()
                self._base.clear()
        elif _amount(value) < _amount(last):
            base = self._base.get(key)
            self._base[key] = last if base is None else added(base, last)
        self._last[key] = value
        base = self._base.get(key)
        return value if base is None else added(base, value)


class Gathering:
    """The families of one snapshot, while they come in."""

    def __init__(self) -> None:
        self._points: dict[Metric, dict[tuple[str, ...], Number]] = {}
        self.left_out = 0
        """Points that were too many."""

    def take(self, readings: Iterable[Reading]) -> None:
        """Take readings in; two of the same labels are added. Raises WrongReading, having taken none."""
        taken = [
            (metric, _checked(metric, labels, value), value) for metric, labels, value in readings
        ]
        for metric, labels, value in taken:
            if value is None or value != value:
                continue
            points = self._points.get(metric)
            if points is None:
                points = self._points[metric] = {}
            before = points.get(labels)
            if before is not None:
                points[labels] = added(before, value)
            elif len(points) < MOST_POINTS:
                points[labels] = value
            else:
                self.left_out += 1

    def metrics(self) -> list[Metric]:
        """Those that have points, by name."""
        return sorted(self._points, key=lambda metric: metric.name)

    def points(self, metric: Metric, sums: Sums, at_once: int = 500) -> Iterator[list[Point]]:
        """The points of one of them, some at a time; once, for they are let go of here."""
        points = self._points.pop(metric)
        if metric.kind is Kind.GAUGE:
            yield list(points.items())
            return
        items, total = iter(points.items()), sums.total
        while some := list(islice(items, at_once)):
            yield [(labels, total(metric, labels, value)) for labels, value in some]


def added(one: Number, other: Number) -> Number:
    """Two numbers as one; distributions of different bounds cannot be added: the latter counts."""
    if not isinstance(one, Distribution):
        return other if isinstance(other, Distribution) else one + other
    if not isinstance(other, Distribution) or one.bounds != other.bounds:
        return other
    counts = tuple(mine + its for mine, its in zip(one.counts, other.counts, strict=True))
    return Distribution(one.bounds, counts, one.sum + other.sum, one.count + other.count)


def _amount(value: Number) -> float:
    return value.count if isinstance(value, Distribution) else value


def _checked(metric: Metric, labels: tuple[str, ...], value: Number | None) -> tuple[str, ...]:
    if len(labels) != len(metric.labels):
        raise WrongReading(f"{metric.name}: expected labels {metric.labels!r}, not {labels!r:.200}")
    if isinstance(value, Distribution) is not (metric.kind is Kind.HISTOGRAM) and value is not None:
        raise WrongReading(f"{metric.name}: {value!r:.100} is no value of a {metric.kind.value}")
    if metric.kind is Kind.COUNTER and value is not None and not 0 <= _amount(value) < math.inf:
        raise WrongReading(f"{metric.name}: a counter cannot be {value!r}")
    for label in labels:
        if len(label) > _LONGEST:
            return tuple(one[:_LONGEST] for one in labels)
    return labels
