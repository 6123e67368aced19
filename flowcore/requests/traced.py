"""How a request is recorded: `invoke_agent NAME`, from its acceptance to its outcome."""

from __future__ import annotations

from flowcore.entry import Entry
from flowcore.envelope import Envelope, Priority, Reply
from flowcore.telemetry import REQUEST_ID, Said, Span, SpanKind, Trace, Tracer, Value, current_span
from flowcore.telemetry.asked import attributes, called, said_of
from flowcore.telemetry.conventions import content

_TOOL_ERROR = "tool_error"
# looking a member of an enumeration up costs on every call
_NORMAL, _INTERNAL = Priority.NORMAL, SpanKind.INTERNAL


def begin(tracer: Tracer, envelope: Envelope, start: float) -> Span:
    """What a request is recorded in that is not just what is done in an ordinary trace that has begun: a span
    of its own."""
    above = envelope.span or current_span()
    name = called(envelope)
    if above is not None and above.open:
        trace = above.trace
        if not trace.request:
            trace.request = envelope.id
        return above.child(name, _INTERNAL, start, _of_request, envelope)
    parent = tracer.parent_in(envelope.meta) if above is None else above.context
    trace = tracer.begin(name, _INTERNAL, start, _of_request, envelope, parent=parent)
    trace.request = envelope.id
    if envelope.priority is not _NORMAL or envelope.idempotency_key is not None:
        trace.record()  # its span tells of that
    return trace


def apart(span: Span, envelope: Envelope, start: float) -> Span:
    """A span of its own for a request that is more than an ordinary one."""
    return span.trace.apart(called(envelope), _INTERNAL, start, _of_request, envelope)


def end(span: Span, envelope: Envelope, entry: Entry | None, now: float) -> None:
    """The request has ended, and its span with it."""
    if type(span) is Trace and span.spans is None and not span.failed and entry is not None:
        span.describe, span.about = _of_done, entry
    span.finish(now)


def end_ordinary(above: Span, envelope: Envelope, entry: Entry | None) -> None:
    """A request has ended that was ordinary, and others came to be part of its trace."""
    assert entry is not None
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


def _of_request(span: Span) -> dict[str, Value]:
    envelope: Envelope = span.about  # type: ignore[assignment]
    said = attributes(envelope, envelope.principal.name, envelope.priority.name.lower())
    said[REQUEST_ID] = envelope.id
    if envelope.idempotency_key is not None:
        said["flowcore.idempotent"] = True
    if span.trace.tracer.content:
        arguments = envelope.params.get("arguments")
        if arguments is not None:
            said["gen_ai.tool.call.arguments"] = content(arguments)
    return said


def _of_done(span: Span) -> Said:
    entry: Entry = span.about  # type: ignore[assignment]
    return said_of(entry)
