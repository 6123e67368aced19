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

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from flowcore.entry import Entry
from flowcore.errors import CallError, InvalidArguments, UnknownTarget
from flowcore.telemetry.asked import piece_of
from flowcore.telemetry.context import (
    TRACEPARENT,
    TRACESTATE,
    SpanContext,
    new_half,
    new_span_id,
)
from flowcore.telemetry.records import Attributes, Piece, SpanKind, SpanRecord, Value

MOST_SPANS: Final = 1000
"""Spans of one trace at one node; more are counted and not recorded."""
_MOST_TEXT = 256
_NOTHING: dict[str, Value] = {}

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


class Doing(Protocol):
    """The work on an ordinary request."""

    end: float
    """When it ended, on the flow's clock; -1.0 while it goes on."""

    def piece(self) -> Piece:
        """What its span tells, once it has ended."""
        ...


class Ending(Protocol):
    """Who is told that a trace has ended at this node."""

    content: bool
    """Whether spans carry arguments and results."""

    def note(self, trace: Trace, /) -> None:
        """One that was ordinary, and is for nobody."""
        ...

    def ended(self, trace: Trace, /) -> None:
        """Any other."""
        ...


class Trace(Span):
    """The first span of a trace at this node, and what this node has recorded of that trace: what is part of
    one that came from outside, or of this one, if it began here."""

    tracer: Ending = None  # type: ignore[assignment]  # always given
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
    asked: Entry | None = None
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
            pieces.append((piece_of(self.asked), self.asked_id))
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
