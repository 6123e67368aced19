"""What a node tells of itself: traces, metrics, logs, and who takes them away."""

from flowcore.telemetry.context import SpanContext, parse_traceparent
from flowcore.telemetry.exporting import Exporting
from flowcore.telemetry.histogram import Durations, Histogram
from flowcore.telemetry.interfaces import SIGNALS, Exporter, ExportFailed, Page, Signal
from flowcore.telemetry.records import Attributes, LogLine, SpanKind, SpanRecord, Value
from flowcore.telemetry.settings import ExporterSettings, TelemetrySettings
from flowcore.telemetry.telemetry import Telemetry
from flowcore.telemetry.tracing import Span, Trace, Tracer, current_span, enter_span

__all__ = [
    "SIGNALS",
    "Attributes",
    "Durations",
    "ExportFailed",
    "Exporter",
    "ExporterSettings",
    "Exporting",
    "Histogram",
    "LogLine",
    "Page",
    "Signal",
    "Span",
    "SpanContext",
    "SpanKind",
    "SpanRecord",
    "Telemetry",
    "TelemetrySettings",
    "Trace",
    "Tracer",
    "Value",
    "current_span",
    "enter_span",
    "parse_traceparent",
]
