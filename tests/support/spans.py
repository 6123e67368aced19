"""Finished spans for those who take them."""

from __future__ import annotations

from flowcore.telemetry import SpanKind, SpanRecord


def span(number: int) -> SpanRecord:
    """A span, another one for each number."""
    return SpanRecord(
        name=f"work {number}",
        kind=SpanKind.INTERNAL,
        trace_id=f"{number + 1:032x}",
        span_id=f"{number + 1:016x}",
        start=1_700_000_000_000_000_000,
        end=1_700_000_000_000_000_000 + number,
    )
