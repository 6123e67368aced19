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

from flowcore.telemetry.context import TRACEPARENT, TRACESTATE, new_digits
from flowcore.telemetry.records import Attributes, SpanKind, SpanRecord
from flowcore.telemetry.tracing import Doing, Piece, Span, Trace


class Asker(Protocol):
    """Who asked."""

    @property
    def name(self) -> str: ...


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

    def work(
        self, agent: str, method: str, name: str, waited: float, start: float, end: float
    ) -> Doing:
        """What is noted of its work: `waited` seconds in the queue; `end` is -1.0 while it goes on."""
        ...


class Opening(Protocol):
    """Who makes the traces of an edge."""

    def open(self, noted: Noted) -> Trace:
        """The first span of what was noted."""
        ...

    def told(self, noted: Noted) -> tuple[str, SpanKind, Attributes]:
        """What that span is called, its kind, and what it says."""
        ...

    def sampled(self, request: str) -> bool:
        """Whether the trace of a request of this id is for exporters."""
        ...


class Noted(msgspec.Struct, eq=False):
    """What is noted of an ordinary request; times are on the flow's clock, in seconds."""

    opening: Opening
    envelope: Asked | None
    """The request, while it is under way."""
    start: float
    wall: float
    """What the wall clock was ahead of the flow's."""
    name: str
    """What it is about."""
    version: str
    """The protocol's, in which it was asked."""
    address: str
    """Where it came from."""
    entry: Ended | None = None
    """The request, once it has ended."""
    label: Label | None = None
    """Whom it was given to."""
    asked: float = 0.0
    """When a worker was asked for, when there was one, and when it had done it."""
    began: float = 0.0
    worked: float = -1.0
    end: float = -1.0
    told: str = ""
    """The `traceparent` of its work, if somebody was told."""
    ids: str = ""
    """The ids of the first span and of the request's, 16 digits each, if they were drawn."""
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
        return self._told[3:35] if self.made is None else self.made.trace_id

    @property
    def _told(self) -> str:
        if not self.told:
            request, drawn = self.request, new_digits()
            flag = "1" if self.opening.sampled(request) else "0"
            half = f"{request[:8]}{request[9:13]}{request[-4:]}"  # see `half_of`
            self.told = f"00-{drawn[:16]}{half}-{drawn[16:32]}-0{flag}"
            self.ids = drawn[32:]
        return self.told

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """A request's `_meta` with its trace context, for whoever does the work on it."""
        if self.made is not None:
            return self.made.carried(meta)
        carried = {**meta, TRACEPARENT: Raw(f'"{self._told}"')}
        carried.pop(TRACESTATE, None)  # it is another trace's
        return carried

    def trace(self) -> Trace:
        """Its trace. Made while the request is under way, it is that in which all else is recorded."""
        trace = self.made
        if trace is not None:
            return trace
        trace = self.made = self.opening.open(self)
        trace.request = self.request
        trace.end = self.end
        if self.told:
            trace.whole, trace.sent = self.told[3:35], self.told[36:52]
            trace._id, trace.asked_id = self.ids[:16], self.ids[16:]
            trace.flags = int(self.told[-1])
        if self.label is not None:
            known = self.envelope or self.entry
            assert known is not None
            trace.done = self.work = self.label.work(
                known.agent,
                known.method,
                self.name,
                self.began - self.asked,
                self.began,
                self.worked,
            )
        trace.asked = self.entry
        if self.envelope is not None:
            self.envelope.span, self.envelope.noted = trace, None
        return trace

    def records(self) -> list[SpanRecord]:
        """Its spans, once it has ended, as exporters are given them: its trace is not made for that."""
        entry, label, wall = self.entry, self.label, self.wall
        if self.made is not None or entry is None:
            return self.trace().records()
        told = self._told
        trace_id, flags, above = told[3:35], int(told[-1]), self.ids[:16]
        called, kind, said = self.opening.told(self)
        start, end = round((self.start + wall) * 1e9), round((self.end + wall) * 1e9)
        records = [
            SpanRecord(called, kind, trace_id, above, start, end, "", False, flags, "", said)
        ]
        pieces = [(entry.piece(), self.ids[16:])]
        if label is not None:
            waited = self.began - self.asked
            work = label.work(entry.agent, entry.method, self.name, waited, self.began, self.worked)
            pieces.append((work.piece(), told[36:52]))
        for piece, id_ in pieces:
            start, end = round((piece.start + wall) * 1e9), round((piece.end + wall) * 1e9)
            records.append(
                SpanRecord(
                    piece.name,
                    piece.kind,
                    trace_id,
                    id_,
                    start,
                    end,
                    above,
                    False,
                    flags,
                    "",
                    piece.attributes,
                )
            )
            above = id_
        return records
