"""How a request is recorded: `invoke_agent NAME`, from its acceptance to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowcore.envelope import Priority
from flowcore.telemetry import Span, SpanKind, Trace, Tracer, Value, current_span
from flowcore.telemetry.conventions import content, mcp_attributes

if TYPE_CHECKING:
    from flowcore.envelope import Envelope, Reply
    from flowcore.requests.tracker import Entry

_MOST_TEXT = 1024
_TOOL_ERROR = "tool_error"
# looking a member of an enumeration up costs on every call
_NORMAL, _INTERNAL = Priority.NORMAL, SpanKind.INTERNAL


class Done(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An ordinary request that has ended, as far as its span tells of it."""

    entry: Entry
    edge: str

    def span(self, top: Trace, above: Span) -> Span:
        """Its span."""
        entry = self.entry
        name = _called(entry)
        return Span(top, above, name, _INTERNAL, entry.accepted, _of_done, self, entry.ended)


def begin(tracer: Tracer, envelope: Envelope, start: float) -> Span:
    """What a request is recorded in: a span of its own, or that which it is part of, as long as it is an
    ordinary one."""
    above = envelope.span
    plain = envelope.priority is _NORMAL and envelope.idempotency_key is None
    if (
        plain
        and type(above) is Trace
        and above.spans is None
        and not above.request
        and above.end < 0.0
    ):
        above.request = envelope.id
        return above
    return _begin(tracer, envelope, start, plain)


def _begin(tracer: Tracer, envelope: Envelope, start: float, plain: bool) -> Span:
    above = envelope.span or current_span()
    name = _called(envelope)
    if above is not None and above.open:
        trace = above.trace
        if not trace.request:
            trace.request = envelope.id
        return above.child(name, _INTERNAL, start, _of_request, envelope)
    parent = tracer.parent_in(envelope.meta) if above is None else above.context
    trace = tracer.begin(name, _INTERNAL, start, _of_request, envelope, parent=parent)
    trace.request = envelope.id
    if not plain:
        trace.record()
    return trace


def apart(span: Span, envelope: Envelope, start: float) -> Span:
    """A span of its own for a request that is more than an ordinary one."""
    return span.trace.apart(_called(envelope), _INTERNAL, start, _of_request, envelope)


def end(span: Span, envelope: Envelope, entry: Entry | None, now: float) -> None:
    """The request has ended, and its span with it."""
    if type(span) is Trace and span.spans is None and not span.failed and entry is not None:
        span.describe, span.about = _of_done, Done(entry, envelope.edge)
    span.finish(now)


def end_ordinary(above: Span, envelope: Envelope, entry: Entry | None) -> None:
    """A request that was ordinary so far has ended."""
    assert type(above) is Trace
    assert entry is not None
    if above.spans is None:
        above.asked = Done(entry, envelope.edge)
    else:
        apart(above, envelope, entry.accepted).finish(entry.ended)


def told(
    span: Span, above: Span | None, envelope: Envelope, reply: Reply, failed: bool, start: float
) -> Span:
    """What a tool says of how it went; the edge's own span tells of it, too. Gives the request's span."""
    if span is above:
        span = apart(span, envelope, start)
    if failed:
        span.fail(_TOOL_ERROR)
        if above is not None and above.kind is SpanKind.SERVER:
            above.fail(_TOOL_ERROR)
    if span.trace.tracer.content:
        span.note(**{"gen_ai.tool.call.result": content(reply.result)})
    return span


def failed(
    span: Span, above: Span | None, envelope: Envelope, error: BaseException, start: float
) -> Span:
    """Why a request did not come to a result. Gives its span."""
    if span is above:
        span = apart(span, envelope, start)
    if isinstance(error, Exception):
        span.failed_by(error)
    else:
        span.note(**{"flowcore.cancelled": True})
    return span


def _called(request: Envelope | Entry) -> str:
    return f"invoke_agent {request.agent}"


def _of_request(span: Span) -> dict[str, Value]:
    envelope: Envelope = span.about  # type: ignore[assignment]
    said = _attributes(envelope, envelope.principal.name, envelope.priority, envelope.edge)
    if envelope.idempotency_key is not None:
        said["flowcore.idempotent"] = True
    if span.trace.tracer.content:
        arguments = envelope.params.get("arguments")
        if arguments is not None:
            said["gen_ai.tool.call.arguments"] = content(arguments)
    return said


def _of_done(span: Span) -> dict[str, Value]:
    done: Done = span.about  # type: ignore[assignment]
    return _attributes(done.entry, done.entry.principal, Priority.NORMAL, done.edge)


def _attributes(
    request: Envelope | Entry, principal: str, priority: Priority, edge: str
) -> dict[str, Value]:
    said = mcp_attributes(request.method, request.name)
    said["gen_ai.operation.name"] = "invoke_agent"
    said["gen_ai.agent.name"] = request.agent
    said["flowcore.request.id"] = request.id
    said["flowcore.principal"] = principal[:_MOST_TEXT]
    said["flowcore.priority"] = priority.name.lower()
    if edge:
        said["flowcore.edge"] = edge
    return said
