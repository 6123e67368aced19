"""An ordinary request, as long as nobody looks: what its trace is made of, noted on its way.

An edge that has nothing to say of a request but what it says of all gives it no trace. A request that is
accepted once, done once by one worker, and without an error, then costs some notes on one object. A trace is
made of them when somebody looks, when somebody else is to be part of it, or as soon as the request is no
ordinary one any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
from msgspec import Raw

from flowcore.telemetry.context import TRACEPARENT, TRACESTATE
from flowcore.telemetry.records import Attributes, SpanKind, SpanRecord
from flowcore.telemetry.tracing import Doing, Piece, Span, Trace

_FIRST, _REQUEST, _WORK = slice(16), slice(16, 32), slice(13, 29)
"""Which of the trace's digits are the ids of its spans: they need differ from each other only. In each is one
of those of a UUID that are never 0."""


class Asker(Protocol):
    """Who asked."""

    @property
    def name(self) -> str: ...


class Client(Protocol):
    """An edge's client, from where and in which version of the protocol it asked."""

    @property
    def version(self) -> str: ...
    @property
    def address(self) -> str: ...


class Asked(Protocol):
    """A request that is under way: an envelope."""

    span: Span | None
    noted: Noted | None

    @property
    def id(self) -> str: ...
    @property
    def agent(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def principal(self) -> Asker: ...


class Ended(Protocol):
    """A request that has ended."""

    id: str
    agent: str
    method: str
    principal: str

    def piece(self) -> Piece:
        """What its span tells."""
        ...


class Label(Protocol):
    """A worker, as spans of its work tell of it."""

    @property
    def passes(self) -> bool:
        """Whether it asks somebody else, who is to be told of the trace."""
        ...

    def work(
        self, agent: str, method: str, name: str, waited: float, start: float, end: float
    ) -> Doing:
        """What is noted of its work: `waited` seconds in the queue; `end` is -1.0 while it goes on."""
        ...


class Sampling(Protocol):
    """Who decides which traces are for exporters, and knows the time."""

    first: str
    """The first UUID of those whose traces are not."""

    def ahead(self, when: float) -> float:
        """What the wall clock was ahead of the flow's then, in seconds."""
        ...


class Opening(Protocol):
    """Who makes the traces of an edge."""

    def open(self, noted: Noted) -> Trace:
        """The first span of what was noted."""
        ...

    def told(self, noted: Noted) -> tuple[str, SpanKind, Attributes]:
        """What that span is called, its kind, and what it says."""
        ...

    @property
    def tracer(self) -> Sampling:
        """Who decides what is for exporters."""
        ...


class Noted(msgspec.Struct, eq=False):
    """What is noted of an ordinary request; times are on the flow's clock, in seconds."""

    opening: Opening
    envelope: Asked | None
    """The request, while it is under way."""
    client: Client
    name: str
    """What it is about."""
    start: float
    entry: Ended | None = None
    """The request, once it has ended."""
    label: Label | None = None
    """Whom it was given to."""
    waited: float = 0.0
    """Seconds in the queue; when a worker had it, and when that had done it."""
    began: float = 0.0
    worked: float = -1.0
    end: float = -1.0
    made: Trace | None = None
    """The trace, if one was made."""
    work: Doing | None = None
    """The work on it, if that was under way then."""

    @property
    def request(self) -> str:
        """The id of the request."""
        known = self.envelope or self.entry
        assert known is not None
        return known.id

    @property
    def sampled(self) -> bool:
        """Whether its trace is for exporters."""
        return self.request < self.opening.tracer.first

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.end < 0.0 if self.made is None else self.made.open

    @property
    def principal(self) -> str:
        """Who asked."""
        if self.envelope is not None:
            return self.envelope.principal.name
        assert self.entry is not None
        return self.entry.principal

    @property
    def method(self) -> str:
        """What is asked for, in MCP's terms."""
        known = self.envelope or self.entry
        assert known is not None
        return known.method

    @property
    def count(self) -> int:
        """How many spans its trace has at this node."""
        return 1 + (self.entry is not None) + (self.label is not None)

    @property
    def trace_id(self) -> str:
        """The id of its trace, of which nothing is made for that."""
        return digits_of(self.request) if self.made is None else self.made.trace_id

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """A request's `_meta` with its trace context, for whoever does the work on it."""
        if self.made is not None:
            return self.made.carried(meta)
        envelope = self.envelope
        assert envelope is not None
        request = envelope.id
        digits = (request[19:] + request[:18]).replace("-", "")  # `digits_of`
        flag = "1" if request < self.opening.tracer.first else "0"
        carried = {**meta, TRACEPARENT: Raw(f'"00-{digits}-{digits[_WORK]}-0{flag}"')}
        carried.pop(TRACESTATE, None)  # it is another trace's
        return carried

    def trace(self) -> Trace:
        """Its trace. Made while the request is under way, it is that in which all else is recorded."""
        trace = self.made
        if trace is not None:
            return trace
        trace = self.made = self.opening.open(self)
        trace.request = request = self.request
        trace.end = self.end
        trace.whole = digits = digits_of(request)
        trace._id, trace.asked_id, trace.sent = digits[_FIRST], digits[_REQUEST], digits[_WORK]
        if self.label is not None:
            known = self.envelope or self.entry
            assert known is not None
            trace.done = self.work = self.label.work(
                known.agent, known.method, self.name, self.waited, self.began, self.worked
            )
        trace.asked = self.entry
        if self.envelope is not None:
            self.envelope.span, self.envelope.noted = trace, None
        return trace

    def records(self) -> list[SpanRecord]:
        """Its spans, once it has ended, as exporters are given them: its trace is not made for that."""
        entry, label = self.entry, self.label
        if self.made is not None or entry is None:
            return self.trace().records()
        trace_id, flags = digits_of(entry.id), 1 if self.sampled else 0
        wall = self.opening.tracer.ahead(self.end)
        called, kind, said = self.opening.told(self)
        first, above = trace_id[_FIRST], trace_id[_REQUEST]
        piece = entry.piece()
        records = [
            SpanRecord(
                called,
                kind,
                trace_id,
                first,
                round((self.start + wall) * 1e9),
                round((self.end + wall) * 1e9),
                "",
                False,
                flags,
                "",
                said,
            ),
            SpanRecord(
                piece.name,
                piece.kind,
                trace_id,
                above,
                round((piece.start + wall) * 1e9),
                round((piece.end + wall) * 1e9),
                first,
                False,
                flags,
                "",
                piece.attributes,
            ),
        ]
        if label is not None:
            piece = label.work(
                entry.agent, entry.method, self.name, self.waited, self.began, self.worked
            ).piece()
            records.append(
                SpanRecord(
                    piece.name,
                    piece.kind,
                    trace_id,
                    trace_id[_WORK],
                    round((piece.start + wall) * 1e9),
                    round((piece.end + wall) * 1e9),
                    above,
                    False,
                    flags,
                    "",
                    piece.attributes,
                )
            )
        return records


def digits_of(request: str) -> str:
    """The id of the trace that a request begins: the digits of its UUID, random ones but for six bits. The
    first of them are at the beginning of the trace id's last 8 bytes, which decide whether it is sampled."""
    return (request[19:] + request[:18]).replace("-", "")
