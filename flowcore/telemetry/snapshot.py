"""All metrics of a node at one time."""

from __future__ import annotations

import attrs

from flowcore.telemetry.metrics import Metric, Number

Point = tuple[tuple[str, ...], Number]
"""The labels' values in the metric's order, and the number."""


@attrs.frozen
class Family:
    """One metric and its points."""

    metric: Metric
    points: tuple[Point, ...]

    def value(self, *labels: str) -> Number | None:
        """The number that has these labels; None if there is none."""
        return next((value for own, value in self.points if own == labels), None)


@attrs.frozen(kw_only=True)
class Snapshot:
    """What every exporter tells: all that tell the same snapshot tell the same numbers."""

    node: str
    version: str
    """flowcore's."""
    started: float
    """When counting began, seconds since 1970."""
    time: float
    """When it was taken, seconds since 1970."""
    families: tuple[Family, ...]
    """By name."""

    def family(self, name: str) -> Family | None:
        """The family of a metric, by its name; None if nobody has told anything of it."""
        return next((one for one in self.families if one.metric.name == name), None)

    def value(self, name: str, *labels: str) -> Number | None:
        """One number; None if there is none."""
        family = self.family(name)
        return None if family is None else family.value(*labels)
