"""What a node tells of itself: traces, metrics, logs, and who takes them away."""

from flowcore.telemetry.context import SpanContext, parse_traceparent
from flowcore.telemetry.histogram import Durations, Histogram
from flowcore.telemetry.interfaces import Exporter, ExportFailed, Page, Signal
from flowcore.telemetry.records import (
    HistogramPoint,
    Kind,
    LogLine,
    Metric,
    Point,
    Snapshot,
    SpanKind,
    SpanRecord,
)

__all__ = [
    "Durations",
    "ExportFailed",
    "Exporter",
    "Histogram",
    "HistogramPoint",
    "Kind",
    "LogLine",
    "Metric",
    "Page",
    "Point",
    "Signal",
    "Snapshot",
    "SpanContext",
    "SpanKind",
    "SpanRecord",
    "parse_traceparent",
]
