"""Spans: what is recorded of a request on its way through this node, and what becomes of it.

Every request is recorded, cheaply: a span is a few slots, and what it says in attributes is made only of
those that are kept. When the first span of a trace at this node ends, it is decided: a sampled trace, and
one in which something failed, goes to the exporters; each stays in memory for a while, for `flowctl trace`.

Times are on the flow's clock, in seconds; a trace knows where that is on the wall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Final

import msgspec
from msgspec import Raw

from flowcore.errors import CallError, InvalidArguments, UnknownTarget
from flowcore.telemetry.context import (
    SAMPLED,
    TRACEPARENT,
    TRACESTATE,
    SpanContext,
    new_span_id,
    new_trace_id,
    parse_traceparent,
)
from flowcore.telemetry.records import Attributes, SpanKind, SpanRecord, Value

WALL_AGE: Final = 1.0
"""Seconds for which it holds how far the wall clock is ahead of the flow's."""
MOST_SPANS: Final = 1000
"""Spans of one trace at one node; more are counted and not recorded."""
_MOST_TEXT = 256
_NOTHING: dict[str, Value] = {}
_decode_text = msgspec.json.Decoder(str).decode

Describe = Callable[["Span"], Attributes]
"""Makes a span's attributes, once it is known that it is kept."""


class Span(msgspec.Struct, eq=False):
    """A piece of a request's way. Made by `Tracer.begin` and `Span.child`, ended by `finish`."""

    trace: Trace
    above: Span | None
    """What it is part of at this node; None for the first of its trace here."""
    name: str
    kind: SpanKind
    start: float
    describe: Describe | None = None
    about: object = None
    """What `describe` makes attributes of; let go when the trace has ended."""
    end: float = -1.0
    attributes: Attributes = _NOTHING
    failed: bool = False
    error: str = ""
    links: tuple[tuple[str, str], ...] = ()
    inner: Span | None = None
    """What of it is being done now, where its task works for that rather than for it."""
    _id: str = ""

    @property
    def id(self) -> str:
        """16 hex digits, drawn when they are first asked for: most spans are never shown to anybody."""
        if not self._id:
            self._id = new_span_id()
        return self._id

    def child(
        self,
        name: str,
        kind: SpanKind,
        start: float,
        describe: Describe | None = None,
        about: object = None,
    ) -> Span:
        """A span that is part of this one."""
        trace = self.trace
        span = Span(trace, self, name, kind, start, describe, about)
        if len(trace.spans) < MOST_SPANS:
            trace.spans.append(span)
        else:
            trace.unrecorded += 1
        return span

    def finish(self, end: float) -> None:
        """It ends; where it is the first of its trace at this node, the trace does, too."""
        self.end = end
        if self.above is None:
            self.trace.tracer.ended(self.trace)

    def fail(self, kind: str, message: str = "") -> None:
        """It went wrong: `kind` is the `error.type`, such as an error's name."""
        self.failed = True
        self.attributes = {**self.attributes, "error.type": kind}
        self.error = message[:_MOST_TEXT]
        self.trace.failed = True

    def failed_by(self, error: Exception) -> None:
        """It went wrong with this error. What says of arguments that they do not fit may quote them: only its
        name is told; and so of what is no typed error, whose text is for the log."""
        quotes = isinstance(error, InvalidArguments) and not isinstance(error, UnknownTarget)
        told = isinstance(error, CallError) and not quotes
        self.fail(type(error).__name__, str(error) if told else "")

    def note(self, **attributes: Value) -> None:
        """Say more of it; for what happens rarely: what is always said belongs into `describe`."""
        self.attributes = {**self.attributes, **attributes}

    @property
    def open(self) -> bool:
        """Whether it, and its trace at this node, go on."""
        return self.end < 0.0 and not self.trace.over

    @property
    def context(self) -> SpanContext:
        """This span as others see it."""
        trace = self.trace
        return SpanContext(trace.id, self.id, trace.flags, trace.state)

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """A request's `_meta` with this span as its trace context, for whoever does it next."""
        trace = self.trace
        # as JSON: there is nothing in it to be escaped
        here = Raw(f'"00-{trace.id}-{self.id}-0{trace.flags}"')
        carried = {**meta, TRACEPARENT: here}
        if trace.state:
            carried[TRACESTATE] = Raw(msgspec.json.encode(trace.state))
        elif TRACESTATE in carried:  # it was malformed, or another trace's
            del carried[TRACESTATE]
        return carried


class Trace(msgspec.Struct, eq=False):
    """What this node has recorded of one trace: the spans under one that came from outside, or began here."""

    tracer: Tracer
    id: str
    """32 hex digits."""
    parent: str
    """The span it is part of, of whoever asked; "" where it begins here."""
    flags: int
    state: str
    wall: float
    """What the wall clock is ahead of the flow's, in seconds."""
    spans: list[Span]
    """The first one is the one that all others are part of. Given away when it has ended."""
    request: str = ""
    """The id of the request that it is of."""
    failed: bool = False
    over: bool = False
    unrecorded: int = 0


class Ended(msgspec.Struct, frozen=True, eq=False):
    """A trace that has ended at this node.

    It holds the spans, and they their trace, which does not hold them any more: nothing is in a circle.
    """

    trace: Trace
    spans: list[Span]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.spans[0].end - self.spans[0].start

    def records(self) -> list[SpanRecord]:
        """Its spans that have ended, as exporters are given them."""
        return [self._record(span) for span in self.spans if span.end >= 0.0]

    def _record(self, span: Span) -> SpanRecord:
        trace = self.trace
        return SpanRecord(
            name=span.name,
            kind=span.kind,
            trace_id=trace.id,
            span_id=span.id,
            parent_id=trace.parent if span.above is None else span.above.id,
            remote=span.above is None and bool(trace.parent),
            flags=trace.flags,
            state=trace.state,
            start=round((span.start + trace.wall) * 1e9),
            end=round((span.end + trace.wall) * 1e9),
            attributes=span.attributes,
            error=span.error,
            failed=span.failed,
            links=span.links,
        )


def _describe(spans: list[Span]) -> None:
    """Have the spans of a trace that is kept say what they are about."""
    for span in spans:
        if span.describe is not None:
            said = span.describe(span)
            span.attributes = {**said, **span.attributes} if span.attributes else said


class Tracer:
    """Begins traces, and decides what becomes of them."""

    def __init__(
        self,
        *,
        sampling: float,
        now: Callable[[], float],
        wall: Callable[[], float],
        ended: Callable[[Ended, bool], None],
    ) -> None:
        """`ended` is told of each trace that has ended, and whether it is for exporters."""
        self._now = now
        self._wall = wall
        self._ahead = 0.0
        self._ahead_until = -math.inf
        self._ended = ended
        self.begun = self.kept = self.malformed = 0
        self.content = False
        """Whether spans carry arguments and results."""
        self.resample(sampling)

    def resample(self, sampling: float) -> None:
        """Have this part of traces that begin here go to exporters from now on."""
        # what OpenTelemetry's TraceIdRatioBased does: the id's last 8 bytes decide, alike on all nodes
        bound = round(sampling * (1 << 64))
        self._all = bound >= 1 << 64
        self._bound = f"{min(bound, (1 << 64) - 1):016x}"

    def begin(
        self,
        name: str,
        kind: SpanKind,
        start: float,
        describe: Describe | None = None,
        about: object = None,
        *,
        parent: SpanContext | None = None,
    ) -> Span:
        """The first span of a trace at this node; `parent` is whose part it is, elsewhere or before."""
        self.begun += 1
        if start > self._ahead_until:
            self._ahead, self._ahead_until = self._wall() - self._now(), start + WALL_AGE
        spans: list[Span] = []
        if parent is None:
            id_ = new_trace_id()
            flags = SAMPLED if id_[16:] < self._bound or self._all else 0
            trace = Trace(self, id_, "", flags, "", self._ahead, spans)
        else:
            trace = Trace(
                self,
                parent.trace_id,
                parent.span_id,
                parent.flags,
                parent.state,
                self._ahead,
                spans,
            )
        span = Span(trace, None, name, kind, start, describe, about)
        spans.append(span)
        return span

    def parent_in(self, meta: Mapping[str, Raw]) -> SpanContext | None:
        """The context that a request's `_meta` carries; None, and counted, if it is malformed."""
        raw = meta.get(TRACEPARENT)
        if raw is None:
            return None
        return self.parent_of(_text(raw), _text(meta.get(TRACESTATE)))

    def parent_of(self, traceparent: str, tracestate: str = "") -> SpanContext | None:
        """The context that these headers carry; None, and counted, if they are malformed."""
        parent = parse_traceparent(traceparent, tracestate)
        if parent is None:
            self.malformed += 1
        return parent

    def ended(self, trace: Trace) -> None:
        """The first span of a trace has ended."""
        spans, trace.spans, trace.over = trace.spans, [], True
        wanted = trace.failed or bool(trace.flags)
        if wanted:
            self.kept += 1
            _describe(spans)
        for span in spans:
            span.about = span.describe = None
        self._ended(Ended(trace, spans), wanted)


_LONGEST_RAW = 16_384


def _text(raw: Raw | None) -> str:
    """A JSON string's text; "" if it is none, or too long to be looked at."""
    if raw is None or len(memoryview(raw)) > _LONGEST_RAW:
        return ""
    try:
        return _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


_current: ContextVar[Span | None] = ContextVar("flowcore.telemetry.span", default=None)


def current_span() -> Span | None:
    """The span that this task works for, while it goes on; None if there is none.

    Tasks inherit it; one that outlives the request that started it works for none any more.
    """
    span = _current.get()
    if span is None or not span.open:
        return None
    return span.inner or span


def enter_span(span: Span | None) -> Span | None:
    """This task works for a span from now on; gives the one it worked for before."""
    before = _current.get()
    _current.set(span)
    return before
