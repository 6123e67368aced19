"""What telemetry has to tell of itself as metrics: traces, and what became of all that was to be exported."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.telemetry.metrics import Reading, counter, gauge
from flowcore.telemetry.telemetry import Telemetry

TRACES = counter("flowcore.traces.begun", "{trace}", "Traces that this node began or joined.")
KEPT = counter("flowcore.traces.kept", "{trace}", "Of these, those that are for exporters.")
MALFORMED = counter(
    "flowcore.traces.malformed", "{header}", "Trace headers that were none, and were left aside."
)
SENT = counter(
    "flowcore.exporter.sent",
    "{item}",
    "Spans, log lines and snapshots that arrived.",
    "exporter",
    "signal",
)
DROPPED = counter(
    "flowcore.exporter.dropped",
    "{item}",
    "Spans, log lines and snapshots that found no room, or did not arrive.",
    "exporter",
    "signal",
)
FAILURES = counter(
    "flowcore.exporter.failures", "{attempt}", "Attempts to send that failed.", "exporter", "signal"
)
WAITING = gauge(
    "flowcore.exporter.queue.length", "{item}", "What waits to be sent.", "exporter", "signal"
)


def measure(telemetry: Telemetry) -> Iterator[Reading]:
    """Its readings."""
    tracer = telemetry.tracer
    yield TRACES.of(tracer.begun)
    yield KEPT.of(tracer.kept)
    yield MALFORMED.of(tracer.malformed)
    for name, one in telemetry.exported():
        for signal, counts in one.counts.items():
            yield SENT.of(counts.sent, name, signal)
            yield DROPPED.of(counts.dropped, name, signal)
            yield FAILURES.of(counts.failures, name, signal)
        yield WAITING.of(len(one.spans), name, "traces")
        yield WAITING.of(len(one.lines), name, "logs")
