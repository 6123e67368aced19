"""A snapshot as Prometheus reads it: its text format 0.0.4, and OpenMetrics 1.0.0.

https://prometheus.io/docs/instrumenting/exposition_formats/ ;
https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from flowcore.telemetry.metrics import Distribution, Kind, Metric, Number
from flowcore.telemetry.snapshot import Family, Snapshot

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPEN_METRICS_END = "# EOF\n"
_AT_ONCE = {Kind.COUNTER: 400, Kind.GAUGE: 400, Kind.HISTOGRAM: 25}
"""Points in a piece."""


def prometheus_text(snapshot: Snapshot) -> str:
    """All of it as text 0.0.4."""
    return "".join(piece for family in snapshot.families for piece in text_pieces(family))


def open_metrics_text(snapshot: Snapshot) -> str:
    """All of it as OpenMetrics 1.0.0."""
    families = snapshot.families
    pieces = (piece for one in families for piece in text_pieces(one, open_metrics=True))
    return "".join(pieces) + OPEN_METRICS_END


def text_pieces(family: Family, *, open_metrics: bool = False) -> Iterator[str]:
    """The text of one family in pieces, each of them made in about a millisecond at most.

    What is OpenMetrics needs `OPEN_METRICS_END` after the last family.
    """
    yield "".join(_heads(family.metric, open_metrics))
    points, at_once = family.points, _AT_ONCE[family.metric.kind]
    for start in range(0, len(points), at_once):
        part = Family(family.metric, points[start : start + at_once])
        yield "".join(_lines(part))


def _heads(metric: Metric, open_metrics: bool) -> Iterator[str]:
    name = metric.prometheus
    if open_metrics and metric.kind is Kind.COUNTER:
        name = name.removesuffix("_total")
    told = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    if open_metrics:
        told = told.replace('"', '\\"')
    yield f"# HELP {name} {told}\n# TYPE {name} {metric.kind.value}\n"
    unit = {"s": "seconds", "By": "bytes", "1": "ratio"}.get(metric.unit)
    if open_metrics and unit is not None and name.endswith(f"_{unit}"):
        yield f"# UNIT {name} {unit}\n"


def _lines(family: Family) -> Iterator[str]:
    name, names = family.metric.prometheus, family.metric.labels
    for labels, value in family.points:
        told = ",".join(f'{key}="{_escaped(one)}"' for key, one in zip(names, labels, strict=True))
        if isinstance(value, Distribution):
            yield from _buckets(name, told, value)
        else:
            yield f"{name}{{{told}}} {_number(value)}\n" if told else f"{name} {_number(value)}\n"


def _buckets(name: str, labels: str, value: Distribution) -> Iterator[str]:
    before = f"{labels}," if labels else ""
    seen = 0
    for bound, count in zip(value.bounds, value.counts, strict=False):
        seen += count
        yield f'{name}_bucket{{{before}le="{bound!r}"}} {seen}\n'
    yield f'{name}_bucket{{{before}le="+Inf"}} {value.count}\n'
    own = f"{{{labels}}}" if labels else ""
    yield f"{name}_sum{own} {_number(value.sum)}\n{name}_count{own} {value.count}\n"


def _escaped(text: str) -> str:
    if text.isalnum():
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text.encode("utf-8", "replace").decode()  # halves of surrogate pairs are no text


def _number(value: Number) -> str:
    if isinstance(value, int):
        return str(int(value))
    assert isinstance(value, float)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
