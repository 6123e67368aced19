"""What a metric is, and what is read of one.

Nothing is counted for the sake of metrics: parts keep statistics anyway, and a metric says how one of them is
called outside. A `Metric` is a constant of the module that knows what it means; whoever keeps the statistics
gives `Reading`s of it when asked (`Measured`). So a metric that nobody reads costs nothing.

Names and units are those of OpenTelemetry (its data model, and its semantic conventions for metrics); from
them follow the names of Prometheus, by OpenTelemetry's "Prometheus and OpenMetrics Compatibility".
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import attrs


class Kind(enum.Enum):
    """What may be done with the numbers."""

    COUNTER = "counter"
    """A sum that only grows."""
    GAUGE = "gauge"
    """What is now."""
    HISTOGRAM = "histogram"
    """How many were how large."""


@attrs.frozen
class Distribution:
    """What a histogram holds: `counts[i]` were at most `bounds[i]` and more than the bound before.

    There is one count more than there are bounds, for what is above all of them.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    count: int


Number = int | float | Distribution


class Reading(NamedTuple):
    """One number of a metric; `labels` in the metric's order. Without a value (None) there is no point."""

    metric: Metric
    labels: tuple[str, ...]
    value: Number | None


@runtime_checkable
class Measured(Protocol):
    """What gives readings. A plugin may yield an object that does."""

    def measure(self, name: str) -> Iterable[Reading]:
        """What is true now; `name` is the component's own in the configuration.

        It must be quick and must not raise.
        """
        ...


_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_WORDS = {"s": "seconds", "By": "bytes", "1": "ratio"}
_ATTRIBUTES = {
    "cpu_mode": "cpu.mode",
    "error": "error.type",
    "method": "mcp.method.name",
    "service_version": "service.version",
    "tool": "gen_ai.tool.name",
}
_RESERVED = frozenset({"le", "quantile", "job", "instance"})


@attrs.frozen(eq=False)
class Metric:
    """A number that has a name.

    `unit` is of UCUM: `s`, `By`, `1` for shares, and `{things}` for what is counted. Each label has few
    values, whatever clients do. Raises ValueError for a name, unit or label that is none.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    usual: str = ""
    """Its name in Prometheus, where that is usually another than what follows from `name`."""

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"expected a metric's name such as 'mine.work.done', not {self.name!r}"
            )
        if self.unit not in _WORDS and not re.fullmatch(r"\{[a-z_]+\}", self.unit):
            raise ValueError(
                f"metric {self.name!r}: expected the unit s, By, 1 or {{things}}, not {self.unit!r}"
            )
        for label in self.labels:
            if not _LABEL.fullmatch(label) or label in _RESERVED:
                raise ValueError(f"metric {self.name!r}: {label!r} cannot be a label's name")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"metric {self.name!r}: a label is named twice in {self.labels!r}")
        if not self.help.strip():
            raise ValueError(f"metric {self.name!r}: expected words on what it is")

    def of(self, value: Number | None, *labels: str) -> Reading:
        """A reading of it, with the labels' values in the order of `labels`."""
        return Reading(self, labels, value)

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, of a histogram without `_bucket`, `_sum` and `_count`."""
        if self.usual:
            return self.usual
        name = self.name.replace(".", "_")
        word = _WORDS.get(self.unit, "")
        if word == "ratio" and self.kind is not Kind.GAUGE:
            word = ""
        if word and not name.endswith(f"_{word}"):
            name += f"_{word}"
        return f"{name}_total" if self.kind is Kind.COUNTER else name

    @property
    def attributes(self) -> tuple[str, ...]:
        """Its labels as attributes of OpenTelemetry: those of its conventions, or under `flowcore.`"""
        return tuple(_ATTRIBUTES.get(one, f"flowcore.{one}") for one in self.labels)


def counter(name: str, unit: str, help: str, *labels: str) -> Metric:  # noqa: A002 - as in `Metric`
    """A sum that only grows."""
    return Metric(name, Kind.COUNTER, unit, help, labels)


def gauge(name: str, unit: str, help: str, *labels: str) -> Metric:  # noqa: A002
    """What is now."""
    return Metric(name, Kind.GAUGE, unit, help, labels)


def histogram(name: str, unit: str, help: str, *labels: str) -> Metric:  # noqa: A002
    """How many were how large."""
    return Metric(name, Kind.HISTOGRAM, unit, help, labels)
