"""Spans: what is recorded of a request on its way through this node, and what becomes of it.

Every request is recorded, cheaply: a span is a few slots, and what it says in attributes is made only of
those that are kept. When the first span of a trace at this node ends, it is decided: a sampled trace, and
one in which something failed, goes to the exporters; each stays in memory for a while, for `flowctl trace`.

Times are on the flow's clock, in seconds; a trace knows where that is on the wall.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Final

import msgspec
from msgspec import Raw

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

MOST_SPANS: Final = 1000
"""Spans of one trace at one node; more are counted and not recorded."""
_MOST_TEXT = 256
_NOTHING: dict[str, Value] = {}
_decode_text = msgspec.json.Decoder(str).decode

Describe = Callable[["Span"], Attributes]
"""Makes a span's attributes, once it is known that it is kept."""


class Span:
    """A piece of a request's way. Made by `Tracer.begin` and `Span.child`, ended by `finish`."""

    __slots__ = (
        "about",
        "attributes",
        "describe",
        "end",
        "error",
        "failed",
        "id",
        "kind",
        "links",
        "name",
        "parent",
        "start",
        "trace",
    )

    def __init__(
        self,
        trace: Trace,
        parent: str,
        name: str,
        kind: SpanKind,
        start: float,
        describe: Describe | None,
        about: object,
    ) -> None:
        self.trace = trace
        self.id = new_span_id()
        self.parent = parent
        self.name = name
        self.kind = kind
        self.start = start
        self.end = -1.0
        self.describe = describe
        self.about = about
        """What `describe` makes attributes of; let go when the trace has ended."""
        self.attributes: Attributes = _NOTHING
        self.failed = False
        self.error = ""
        self.links: tuple[tuple[str, str], ...] = ()

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
        span = Span(trace, self.id, name, kind, start, describe, about)
        spans = trace.spans
        if len(spans) < MOST_SPANS:
            spans.append(span)
        else:
            trace.unrecorded += 1
        return span

    def finish(self, end: float) -> None:
        """It ends; where it is the first of its trace at this node, the trace does, too."""
        self.end = end
        trace = self.trace
        if trace.spans[0] is self:
            trace.tracer.ended(trace)

    def fail(self, kind: str, message: str = "") -> None:
        """It went wrong: `kind` is the `error.type`, such as an error's name."""
        self.failed = True
        self.attributes = {**self.attributes, "error.type": kind}
        self.error = message[:_MOST_TEXT]
        self.trace.failed = True

    def note(self, **attributes: Value) -> None:
        """Say more of it; for what happens rarely: what is always said belongs into `describe`."""
        self.attributes = {**self.attributes, **attributes}

    @property
    def open(self) -> bool:
        """Whether it, and its trace at this node, go on."""
        return self.end < 0.0 and self.trace.spans[0].end < 0.0

    @property
    def traceparent(self) -> str:
        """This span as the parent of what others do for it."""
        trace = self.trace
        return f"00-{trace.id}-{self.id}-0{trace.flags}"

    @property
    def context(self) -> SpanContext:
        """This span as others see it."""
        trace = self.trace
        return SpanContext(trace.id, self.id, trace.flags, trace.state)

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """A request's `_meta` with this span as its trace context, for whoever does it next."""
        trace = self.trace
        carried = {
            **meta,
            TRACEPARENT: Raw(
                b'"00-%b-%b-0%d"' % (trace.id.encode(), self.id.encode(), trace.flags)
            ),
        }
        if TRACESTATE in carried and not trace.state:  # it was malformed, or another trace's
            del carried[TRACESTATE]
        elif trace.state:
            carried[TRACESTATE] = Raw(msgspec.json.encode(trace.state))
        return carried


class Trace:
    """What this node has recorded of one trace: the spans under one that came from outside, or began here."""

    __slots__ = (
        "failed",
        "flags",
        "id",
        "parent",
        "request",
        "spans",
        "state",
        "tracer",
        "unrecorded",
        "wall",
    )

    def __init__(
        self, tracer: Tracer, id_: str, parent: str, flags: int, state: str, wall: float
    ) -> None:
        self.tracer = tracer
        self.id = id_
        self.parent = parent
        """The span it is part of, of whoever asked; "" where it begins here."""
        self.flags = flags
        self.state = state
        self.wall = wall
        """What the wall clock is ahead of the flow's, in seconds."""
        self.request = ""
        """The id of the request that it is of."""
        self.spans: list[Span] = []
        """The first one is the one that all others are part of."""
        self.failed = False
        self.unrecorded = 0

    @property
    def sampled(self) -> bool:
        """Whether it goes to exporters also if nothing fails."""
        return bool(self.flags & SAMPLED)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.spans[0].end - self.spans[0].start

    def records(self) -> list[SpanRecord]:
        """Its spans that have ended, as exporters are given them."""
        return [self._record(span) for span in self.spans if span.end >= 0.0]

    def _record(self, span: Span) -> SpanRecord:
        return SpanRecord(
            name=span.name,
            kind=span.kind,
            trace_id=self.id,
            span_id=span.id,
            parent_id=span.parent,
            remote=bool(self.parent) and span.parent == self.parent,
            flags=self.flags,
            state=self.state,
            start=round((span.start + self.wall) * 1e9),
            end=round((span.end + self.wall) * 1e9),
            attributes=span.attributes,
            error=span.error,
            failed=span.failed,
            links=span.links,
        )

    def settle(self, *, described: bool) -> None:
        """It has ended: attributes are made of what its spans are about, or not, and that is let go."""
        for span in self.spans:
            if described and span.describe is not None:
                said = span.describe(span)
                span.attributes = {**said, **span.attributes} if span.attributes else said
            span.about = span.describe = None


class Tracer:
    """Begins traces, and decides what becomes of them."""

    def __init__(
        self,
        *,
        sampling: float,
        now: Callable[[], float],
        wall: Callable[[], float],
        ended: Callable[[Trace, bool], None],
    ) -> None:
        """`ended` is told of each trace that has ended, and whether it is for exporters."""
        self._now = now
        self._wall = wall
        self._ended = ended
        self.begun = self.kept = self.malformed = 0
        self.exporting = False
        """Whether anybody wants traces: else attributes are made of failed ones only."""
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
        wall = self._wall() - self._now()
        if parent is None:
            id_ = new_trace_id()
            flags = SAMPLED if self._all or id_[16:] < self._bound else 0
            trace = Trace(self, id_, "", flags, "", wall)
        else:
            trace = Trace(self, parent.trace_id, parent.span_id, parent.flags, parent.state, wall)
        span = Span(trace, trace.parent, name, kind, start, describe, about)
        trace.spans.append(span)
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
        wanted = trace.failed or bool(trace.flags & SAMPLED)
        if wanted:
            self.kept += 1
        trace.settle(described=wanted)
        self._ended(trace, wanted)


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
    return span if span is not None and span.open else None


def enter_span(span: Span | None) -> Span | None:
    """This task works for a span from now on; gives the one it worked for before."""
    before = _current.get()
    _current.set(span)
    return before
