"""Spans: what is recorded of a request on its way through this node, and what becomes of it.

Every request is recorded, and most are ordinary: accepted once, done once by one worker, without an error. Of
such a one a few facts are noted on its trace, and spans are made of them when somebody looks, or an exporter
takes them. Whatever else happens has it recorded in full from then on: each piece of its way is a span of its
own, and one that had begun before becomes one when it ends.

When the first span of a trace at this node ends, it is decided: a sampled trace, and one in which something
failed, goes to the exporters; each stays in memory for a while, for `flowctl trace`.

Times are on the flow's clock, in seconds; a trace knows where that is on the wall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from flowcore.errors import CallError, InvalidArguments, UnknownTarget
from flowcore.telemetry.context import (
    SAMPLED,
    TRACEPARENT,
    TRACESTATE,
    SpanContext,
    chance,
    half_of,
    new_half,
    new_span_id,
    parse_traceparent,
)
from flowcore.telemetry.noted import Noted
from flowcore.telemetry.records import Attributes, SpanKind, SpanRecord, Value

WALL_AGE: Final = 1.0
"""Seconds for which it holds how far the wall clock is ahead of the flow's."""
MOST_SPANS: Final = 1000
"""Spans of one trace at one node; more are counted and not recorded."""
_MOST_TEXT = 256
_NOTHING: dict[str, Value] = {}
_draw = chance.getrandbits
_decode_text = msgspec.json.Decoder(str).decode

Describe = Callable[["Span"], Attributes]
"""Makes a span's attributes, once it is known that it is kept."""


class Span(msgspec.Struct, eq=False):
    """A piece of a request's way. Made by `Tracer.begin` and `Span.child`, ended by `finish`."""

    top: Trace | None
    """The first span of its trace at this node; None for that one itself."""
    above: Span | None
    """What it is part of at this node; None for the first of its trace here."""
    name: str
    kind: SpanKind
    start: float
    describe: Describe | None = None
    about: object = None
    """What `describe` makes attributes of. That of a first span is kept as long as its trace: small, and
    nobody's arguments."""
    end: float = -1.0
    attributes: Attributes = _NOTHING
    failed: bool = False
    error: str = ""
    links: tuple[tuple[str, str], ...] = ()
    inner: Span | None = None
    """What of it is being done now, where its task works for that rather than for it."""
    _id: str = ""

    @property
    def trace(self) -> Trace:
        """The trace it is recorded in."""
        assert self.top is not None
        return self.top

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
        """A span that is part of this one; its trace is recorded in full from now on."""
        trace = self.trace
        span = Span(trace, self, name, kind, start, describe, about)
        trace.add(span)
        return span

    def finish(self, end: float) -> None:
        """It ends."""
        self.end = end

    def fail(self, kind: str, message: str = "") -> None:
        """It went wrong: `kind` is the `error.type`, such as an error's name."""
        self.failed = self.trace.any_failed = True
        self.attributes = {**self.attributes, "error.type": kind}
        self.error = message[:_MOST_TEXT]

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
        return self.end < 0.0 and self.trace.end < 0.0

    @property
    def doing(self) -> str:
        """The id of the span of what is being done now."""
        return self.id

    @property
    def context(self) -> SpanContext:
        """This span as others see it."""
        trace = self.trace
        return SpanContext(trace.trace_id, self.id, trace.flags, trace.state)

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """A request's `_meta` with this span as its trace context, for whoever does it next."""
        return self.trace.carrying(meta, self.id)

    def described(self) -> Attributes:
        """All that it says."""
        if self.describe is not None:
            said = self.describe(self)
            self.attributes = {**said, **self.attributes} if self.attributes else said
            self.describe = self.about = None
        return self.attributes


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of an ordinary request's way, as its span tells of it."""

    name: str
    kind: SpanKind
    start: float
    end: float
    attributes: Attributes


class Facts(Protocol):
    """What is noted of a piece of an ordinary request's way."""

    def piece(self) -> Piece:
        """What its span tells, once it has ended."""
        ...


class Doing(Facts, Protocol):
    """The work on an ordinary request."""

    end: float
    """When it ended, on the flow's clock; -1.0 while it goes on."""


class Trace(Span):
    """The first span of a trace at this node, and what this node has recorded of that trace: what is part of
    one that came from outside, or of this one, if it began here."""

    tracer: Tracer = None  # type: ignore[assignment]  # always given
    half: int = 0
    """The last 8 bytes of the trace's id, where it began here: they decide whether it is sampled."""
    whole: str = ""
    """The trace's id, once somebody had to be told: see `trace_id`."""
    parent: str = ""
    """The span it is part of, of whoever asked; "" where it begins here."""
    flags: int = 0
    state: str = ""
    wall: float = 0.0
    """What the wall clock is ahead of the flow's, in seconds."""
    spans: list[Span] | None = None
    """Those below; None as long as all is ordinary."""
    request: str = ""
    """The id of the request that it is of."""
    any_failed: bool = False
    """Whether something in it failed."""
    unrecorded: int = 0
    asked: Facts | None = None
    """The ordinary request that was done as part of it, once that has ended."""
    done: Doing | None = None
    """The ordinary work on that."""
    asked_id: str = ""
    """The ids of the spans of both, as far as somebody had to be told."""
    sent: str = ""
    size: int = 0
    """How many spans were recorded when it ended; 0 where it was ordinary."""

    @property
    def trace(self) -> Trace:
        return self

    @property
    def trace_id(self) -> str:
        """The id of the trace: 32 hex digits."""
        if not self.whole:
            self.whole = f"{new_half():016x}{self.half:016x}"
        return self.whole

    @property
    def doing(self) -> str:
        """The id of the span of what is being done now, which is the work on an ordinary request while that
        goes on."""
        if self.done is None or self.done.end >= 0.0:
            return self.id
        if not self.sent:
            self.sent = new_span_id()
        return self.sent

    def add(self, span: Span) -> None:
        """Record a span of it."""
        spans = self.record()
        if len(spans) < MOST_SPANS:
            spans.append(span)
        else:
            self.unrecorded += 1

    def record(self) -> list[Span]:
        """Have all be spans, what is noted of it first."""
        if self.spans is None:
            spans: list[Span] = []
            above: Span = self
            for piece, id_ in self._noted():
                above = Span(
                    self,
                    above,
                    piece.name,
                    piece.kind,
                    piece.start,
                    end=piece.end,
                    attributes=piece.attributes,
                    _id=id_,
                )
                spans.append(above)
            self.spans = spans
            self.asked = self.done = None
        return self.spans

    def _noted(self) -> list[tuple[Piece, str]]:
        """The pieces that were ordinary and have ended, and the ids of their spans."""
        pieces = []
        if self.asked is not None:
            if not self.asked_id:
                self.asked_id = new_span_id()
            pieces.append((self.asked.piece(), self.asked_id))
        if self.done is not None and self.done.end >= 0.0:
            if not self.sent:
                self.sent = new_span_id()
            pieces.append((self.done.piece(), self.sent))
        return pieces

    def apart(
        self,
        name: str,
        kind: SpanKind,
        start: float,
        describe: Describe,
        about: object,
        id_: str = "",
    ) -> Span:
        """A span for a piece of an ordinary request's way, which has come to be more than that: what was
        recorded below it since is part of it."""
        spans = self.record()
        span = Span(self, self, name, kind, start, describe, about, _id=id_)
        for one in spans:
            if one.above is self:
                one.above = span
        self.add(span)
        return span

    def finish(self, end: float) -> None:
        """The trace ends at this node."""
        self.end = end
        if self.spans is None and not self.any_failed and not self.flags:
            self.tracer.note(self)
        else:
            self.tracer.ended(self)

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """While an ordinary request is worked on, whoever does it next is part of that work."""
        return self.carrying(meta, self.doing)

    def carrying(self, meta: Mapping[str, Raw], span_id: str) -> dict[str, Raw]:
        """A request's `_meta` with one of its spans as the trace context."""
        # as JSON: there is nothing in it to be escaped
        carried = {**meta, TRACEPARENT: Raw(f'"00-{self.trace_id}-{span_id}-0{self.flags}"')}
        if self.state:
            carried[TRACESTATE] = Raw(msgspec.json.encode(self.state))
        elif TRACESTATE in carried:  # it was malformed, or another trace's
            del carried[TRACESTATE]
        return carried

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start

    @property
    def count(self) -> int:
        """How many spans it has at this node."""
        if self.spans is None:
            return 1 + (self.asked is not None) + (self.done is not None)
        return 1 + len(self.spans) + self.unrecorded

    def records(self) -> list[SpanRecord]:
        """Its spans that have ended, in the order in which they began, as exporters are given them."""
        if self.spans is None:
            return self._ordinary()
        spans = sorted((self, *self.spans), key=_start)
        return [self._record(span) for span in spans if span.end >= 0.0]

    def _ordinary(self) -> list[SpanRecord]:
        """The records of what was noted: nothing is made of it but these."""
        records = [self._record(self)]
        above, wall = self.id, self.wall
        for piece, id_ in self._noted():
            records.append(
                SpanRecord(
                    piece.name,
                    piece.kind,
                    self.trace_id,
                    id_,
                    round((piece.start + wall) * 1e9),
                    round((piece.end + wall) * 1e9),
                    above,
                    False,
                    self.flags,
                    self.state,
                    piece.attributes,
                )
            )
            above = id_
        return records

    def _record(self, span: Span) -> SpanRecord:
        above, wall = span.above, self.wall
        return SpanRecord(
            span.name,
            span.kind,
            self.trace_id,
            span.id,
            round((span.start + wall) * 1e9),
            round((span.end + wall) * 1e9),
            self.parent if above is None else above.id,
            above is None and self.parent != "",
            self.flags,
            self.state,
            span.described(),
            span.error,
            span.failed,
            span.links,
        )

    def forget(self) -> None:
        """Let go of all below: spans and their trace would hold each other."""
        self.spans = []


def _start(span: Span) -> float:
    return span.start


class Tracer:
    """Begins traces, and decides what becomes of them."""

    def __init__(
        self,
        *,
        sampling: float,
        now: Callable[[], float],
        wall: Callable[[], float],
        export: Callable[[Trace | Noted], None],
        remember: Callable[[Trace], None],
        note: Callable[[Trace | Noted], None],
    ) -> None:
        """`export` is given each trace that exporters are for, once it has ended; then `note` each that was
        an ordinary one, and `remember` each other."""
        self._now = now
        self._wall = wall
        self._ahead = 0.0
        self._ahead_until = -math.inf
        self._export = export
        self._remember = remember
        self.note = note
        self.begun = self.kept = self.malformed = 0
        self.content = False
        """Whether spans carry arguments and results."""
        self.resample(sampling)

    def resample(self, sampling: float) -> None:
        """Have this part of traces that begin here go to exporters from now on."""
        # what OpenTelemetry's TraceIdRatioBased does: the id's last 8 bytes decide, alike on all nodes
        bound = round(sampling * (1 << 48))
        self._bound = bound << 16
        first = f"{bound:012x}"
        self._first = f"{first[:8]}-{first[8:]}" if bound < 1 << 48 else "g"
        """The first UUID, as far as it matters, whose trace is not sampled: see `half_of`."""

    def begin(
        self,
        name: str,
        kind: SpanKind,
        start: float,
        describe: Describe | None = None,
        about: object = None,
        *,
        parent: SpanContext | None = None,
    ) -> Trace:
        """The first span of a trace at this node; `parent` is whose part it is, elsewhere or before."""
        self.begun += 1
        half, flags = 0, 0
        if parent is None:
            half = _draw(64) or 1
            if half < self._bound:
                flags = SAMPLED
        trace = Trace(
            None,
            None,
            name,
            kind,
            start,
            describe,
            about,
            tracer=self,
            half=half,
            flags=flags,
            wall=self.ahead(start),
        )
        if parent is not None:
            trace.whole, trace.parent = parent.trace_id, parent.span_id
            trace.flags, trace.state = parent.flags, parent.state
        if self.content:
            trace.spans = []
        return trace

    def ahead(self, now: float) -> float:
        """What the wall clock is ahead of the flow's, in seconds, as seen lately."""
        if now > self._ahead_until:
            self._ahead, self._ahead_until = self._wall() - self._now(), now + WALL_AGE
        return self._ahead

    def sampled(self, request: str) -> bool:
        """Whether the trace that a request of this id began, a UUID that was drawn here, is for exporters."""
        return request < self._first

    def noted(self, noted: Noted, now: float) -> None:
        """A request that was an ordinary one has ended at this node, and its trace with it."""
        noted.end = now
        self.begun += 1
        entry = noted.entry
        if entry is not None and entry.id < self._first:
            self.kept += 1
            self._export(noted)
        self.note(noted)

    def trace_of(
        self, noted: Noted, name: str, kind: SpanKind, describe: Describe, about: object
    ) -> Trace:
        """The first span of what was noted."""
        request = noted.request
        return Trace(
            None,
            None,
            name,
            kind,
            noted.start,
            describe,
            about,
            tracer=self,
            half=half_of(request),
            flags=SAMPLED if self.sampled(request) else 0,
            wall=noted.wall,
        )

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
        """A trace has ended at this node that is for the exporters, or was no ordinary one."""
        wanted = trace.any_failed or trace.flags != 0
        self.kept += wanted
        ordinary = trace.spans is None and not trace.any_failed
        if not ordinary:
            trace.described()
            for span in trace.record():
                span.described()
        if wanted:
            self._export(trace)
        if ordinary:
            self.note(trace)
        else:
            self._remember(trace)


_LONGEST_RAW = 16_384


def _text(raw: Raw | None) -> str:
    """A JSON string's text; "" if it is none, or too long to be looked at."""
    if raw is None or len(memoryview(raw)) > _LONGEST_RAW:
        return ""
    try:
        return _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


CURRENT: Final[ContextVar[Span | Noted | None]] = ContextVar(
    "flowcore.telemetry.span", default=None
)
"""The span that a task works for, or has worked for: see `current_span`."""


def current_span() -> Span | None:
    """The span that this task works for, while it goes on; None if there is none.

    Tasks inherit it; one that outlives the request that started it works for none any more.
    """
    span = CURRENT.get()
    if span is None or not span.open:
        return None
    if isinstance(span, Noted):
        span = span.trace()
    return span.inner or span


def enter_span(span: Span | Noted | None) -> Span | Noted | None:
    """This task works for a span from now on; gives the one it worked for before."""
    before = CURRENT.get()
    CURRENT.set(span)
    return before
