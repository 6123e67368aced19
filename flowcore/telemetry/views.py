"""Recorded traces as plain data, for who looks at them."""

from __future__ import annotations

from typing import Any

from flowcore.telemetry.context import SAMPLED
from flowcore.telemetry.tracing import Span, Trace


def summary_of(trace: Trace) -> dict[str, Any]:
    """A trace in a line: its first span, and what came of it. Times in seconds, of Unix time."""
    spans = (trace, *(trace.spans or ()))
    return {
        "trace_id": trace.trace_id,
        "request": trace.request,
        "name": trace.name,
        "start": round(trace.start + trace.wall, 6),
        "seconds": round(trace.seconds, 6),
        "failed": trace.any_failed,
        "error": next((_why(one) for one in spans if one.failed), ""),
        "sampled": bool(trace.flags & SAMPLED),
        "spans": trace.count,
    }


def _why(span: Span) -> str:
    return span.error or str(span.attributes.get("error.type", ""))


def spans_of(trace: Trace, node: str) -> list[dict[str, Any]]:
    """The spans of a trace at this node, in the order in which they began."""
    return [
        {
            "trace_id": one.trace_id,
            "span_id": one.span_id,
            "parent_id": one.parent_id,
            "name": one.name,
            "kind": one.kind.name.lower(),
            "node": node,
            "start": round(one.start / 1e9, 6),
            "seconds": round((one.end - one.start) / 1e9, 6),
            "failed": one.failed,
            "error": one.error,
            "attributes": dict(one.attributes),
        }
        for one in trace.records()
    ]
