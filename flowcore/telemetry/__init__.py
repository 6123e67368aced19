"""What a node tells of itself: traces, metrics, logs, and who takes them away."""

from flowcore.telemetry.collector import Metrics, Read
from flowcore.telemetry.context import TRACEPARENT, TRACESTATE, SpanContext, parse_traceparent
from flowcore.telemetry.conventions import (
    QUEUE_WAIT,
    REQUEST_ID,
    mcp_attributes,
    mcp_name,
    tool_failed,
)
from flowcore.telemetry.current import current_span, enter_span, keep_places, stay_with_span
from flowcore.telemetry.durations import FINE, Durations, Histogram, total
from flowcore.telemetry.exporting import Batch, Exporting
from flowcore.telemetry.gathering import WrongReading
from flowcore.telemetry.interfaces import SIGNALS, Exporter, ExportFailed, Page, Signal
from flowcore.telemetry.levels import LEVELS, restore_levels, set_level
from flowcore.telemetry.logs import TapHandler
from flowcore.telemetry.metrics import (
    Distribution,
    Kind,
    Measured,
    Metric,
    Number,
    Reading,
    counter,
    gauge,
    histogram,
)
from flowcore.telemetry.noted import Alike, Likeness, Noted
from flowcore.telemetry.records import Attributes, LogLine, Piece, Said, SpanKind, SpanRecord, Value
from flowcore.telemetry.settings import ExporterSettings, TelemetrySettings
from flowcore.telemetry.snapshot import Family, Point, Snapshot
from flowcore.telemetry.spread import SHARES, Spread
from flowcore.telemetry.telemetry import Telemetry
from flowcore.telemetry.text import (
    OPEN_METRICS_END,
    OPEN_METRICS_TYPE,
    PROMETHEUS_TYPE,
    open_metrics_text,
    prometheus_text,
    text_pieces,
)
from flowcore.telemetry.tracer import Tracer
from flowcore.telemetry.tracing import (
    Span,
    Trace,
)
from flowcore.telemetry.views import spans_of, summary_of

__all__ = [
    "FINE",
    "LEVELS",
    "OPEN_METRICS_END",
    "OPEN_METRICS_TYPE",
    "PROMETHEUS_TYPE",
    "QUEUE_WAIT",
    "REQUEST_ID",
    "SHARES",
    "SIGNALS",
    "TRACEPARENT",
    "TRACESTATE",
    "Alike",
    "Attributes",
    "Batch",
    "Distribution",
    "Durations",
    "ExportFailed",
    "Exporter",
    "ExporterSettings",
    "Exporting",
    "Family",
    "Histogram",
    "Kind",
    "Likeness",
    "LogLine",
    "Measured",
    "Metric",
    "Metrics",
    "Noted",
    "Number",
    "Page",
    "Piece",
    "Point",
    "Read",
    "Reading",
    "Said",
    "Signal",
    "Snapshot",
    "Span",
    "SpanContext",
    "SpanKind",
    "SpanRecord",
    "Spread",
    "TapHandler",
    "Telemetry",
    "TelemetrySettings",
    "Trace",
    "Tracer",
    "Value",
    "WrongReading",
    "counter",
    "current_span",
    "enter_span",
    "gauge",
    "histogram",
    "keep_places",
    "mcp_attributes",
    "mcp_name",
    "open_metrics_text",
    "parse_traceparent",
    "prometheus_text",
    "restore_levels",
    "set_level",
    "spans_of",
    "stay_with_span",
    "summary_of",
    "text_pieces",
    "tool_failed",
    "total",
]
