"""An ordinary request, as long as nobody looks: what its trace is made of, noted on its way.

An edge that has nothing to say of a request but what it says of all gives it no trace. A request that is
accepted once, done once by one worker, and without an error, then costs some notes on one object. A trace is
made of them when somebody looks, when somebody else is to be part of it, or as soon as the request is no
ordinary one any more.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Mapping
from math import floor
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from flowcore.entry import ENTRY_BYTES, Entry
from flowcore.structs import stored_to
from flowcore.telemetry.asked import piece_of
from flowcore.telemetry.context import TRACEPARENT
from flowcore.telemetry.conventions import QUEUE_WAIT, REQUEST_ID
from flowcore.telemetry.records import Attributes, Said, SpanKind, SpanRecord
from flowcore.telemetry.tracing import Doing, Trace

_FIRST, _REQUEST, _WORK = slice(14, 30), slice(16, 32), slice(16)
"""Which of the trace's digits are the ids of its spans: they need differ from each other only. In each is one
of those of a UUID that are never 0. That of the work is made most often: it has the cheapest."""
_REMEMBERED: Final = 1024
WHOLE: Final = 3
"""Spans of an ordinary trace of which all is known: see `Noted.whole`."""
Own = tuple[bytes, bytes, bytes, bytes, int, int, int, int, int, int, float]
"""What an ordinary trace has of its own: the id of its request, as text; the ids of its three spans, of which
that of the work and that of the request are the trace's; when those of the edge, of the request, and of the
work began and ended, in nanoseconds of Unix time; and the seconds in the queue."""


class Alike(msgspec.Struct, frozen=True, eq=False):
    """What ordinary traces of one sort tell alike: the same object for all of them."""

    spans: tuple[tuple[str, SpanKind, Attributes], ...]
    """Of each of their spans its name, its kind, and what it says but for what is its own: that of the
    request has `REQUEST_ID` besides, that of the work `QUEUE_WAIT`."""


class Label(Protocol):
    """A worker, as spans of its work tell of it."""

    @property
    def passes(self) -> bool:
        """Whether it asks somebody else, who is to be told of the trace."""
        ...

    @property
    def beside(self) -> bool:
        """Whether that is done by `Envelope.context`, and not in `Envelope.meta`."""
        ...

    def work(
        self, agent: str, method: str, name: str, waited: float, start: float, end: float
    ) -> Doing:
        """What is noted of its work: `waited` seconds in the queue; `end` is -1.0 while it goes on."""
        ...


Likeness = tuple[Label | None, str, str, str, str, str, str]
"""Ordinary traces of an edge that tell the same but for ids and times: the worker, the client's version and
address, who asked, and agent, method and name of what was asked for."""


class Sampling(Protocol):
    """Who decides which traces are for exporters, and knows the time."""

    def ahead(self, when: float) -> float:
        """What the wall clock was ahead of the flow's then, in seconds."""
        ...


class Opening(Protocol):
    """Who makes the traces of an edge."""

    alike: dict[Likeness, Alike]
    """What was told alike lately, made once."""

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


@stored_to
class Noted(Entry, gc=False, eq=False, kw_only=True):
    """The entry of an ordinary request that came by an edge, and what more is noted of it; times are on the
    flow's clock, in seconds.

    The garbage collector does not look at it, as at no entry: it is in no circle, for it lets go of its trace
    as soon as the request has ended.
    """

    size: int = ENTRY_BYTES + 192  # twelve fields, and four numbers that are objects
    opening: Opening
    version: str
    """Of the protocol that the client speaks, and from where it does."""
    address: str
    start: float
    """When it came."""
    sampled: bool
    """Whether its trace is for exporters."""
    label: Label | None = None
    """Whom it was given to."""
    waited: float = 0.0
    """Seconds in the queue; when a worker had it, and when that had done it."""
    taken: float = 0.0
    worked: float = -1.0
    answered: bool = False
    """Whether there is a result, and nothing else to be told of it."""
    end: float = -1.0
    made: Trace | None = None
    """The trace, if one was made while it was under way."""
    work: Doing | None = None
    """The work on it, if that was under way then."""

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        if self.made is not None:
            return self.made.open
        return self.end < 0.0 and not self.answered

    @property
    def count(self) -> int:
        """How many spans its trace has at this node."""
        return 1 + self.answered + (self.label is not None)

    @property
    def trace_id(self) -> str:
        """The id of its trace, of which nothing is made for that."""
        return digits_of(self.id) if self.made is None else self.made.trace_id

    def context(self) -> bytes:
        """The trace context for whoever does the work on it, as a member of a JSON object."""
        # `digits_of`, and those of the work's span among them, in one go
        plain = self.id.replace("-", "")
        work = plain[16:]
        if self.sampled:
            return f'"traceparent":"00-{work}{plain[:16]}-{work}-01"'.encode()
        return f'"traceparent":"00-{work}{plain[:16]}-{work}-00"'.encode()

    def carried(self, meta: Mapping[str, Raw]) -> dict[str, Raw]:
        """A request's `_meta` with its trace context, for whoever does the work on it."""
        if self.made is not None:
            return self.made.carried(meta)
        digits, flag = digits_of(self.id), int(self.sampled)
        return {**meta, TRACEPARENT: Raw(f'"00-{digits}-{digits[_WORK]}-0{flag}"')}

    def trace(self) -> Trace:
        """Its trace. Made while the request is under way, it is that in which all else is recorded; after
        that it is another one each time."""
        if self.made is not None:
            return self.made
        trace = self.opening.open(self)
        trace.request = request = self.id
        trace.end = self.end
        trace.whole = digits = digits_of(request)
        trace._id, trace.asked_id, trace.sent = digits[_FIRST], digits[_REQUEST], digits[_WORK]
        work: Doing | None = None
        if self.label is not None:
            trace.done = work = self.label.work(
                self.agent, self.method, self.name, self.waited, self.taken, self.worked
            )
        if self.answered:
            trace.asked = self
        else:
            self.made, self.work = trace, work
        return trace

    def let_go(self) -> None:
        """Have nothing to do with its trace any more: the request has ended, of which that knows."""
        self.made = self.work = None
        self.end = self.ended

    # methods, for of each trace that is exported these are asked, and a property takes twice as long

    def whole(self) -> bool:
        """Whether its spans are three, of which all is known: the edge's, the request's, and the work's."""
        return self.answered and self.label is not None

    def alike(self) -> Alike:
        """What it tells as others of its sort do, once it has ended."""
        sort: Likeness = (
            self.label,
            self.version,
            self.address,
            self.principal,
            self.agent,
            self.method,
            self.name,
        )
        known = self.opening.alike.get(sort)
        return self._alike(sort) if known is None else known

    def _alike(self, sort: Likeness) -> Alike:
        label, remembered = self.label, self.opening.alike
        spans: list[tuple[str, SpanKind, Attributes]] = [self.opening.told(self)]
        pieces = [piece_of(self)]
        if label is not None:
            pieces.append(label.work(self.agent, self.method, self.name, 0.0, 0.0, 0.0).piece())
        spans += [(one.name, one.kind, one.attributes) for one in pieces]
        made = Alike(tuple((name, kind, _shared(said)) for name, kind, said in spans))
        if len(remembered) >= _REMEMBERED:
            remembered.clear()
        remembered[sort] = made
        return made

    def own(self) -> Own:
        """What is its own, all in one go."""
        request, end, waited = self.id, self.end, self.waited
        wall = self.opening.tracer.ahead(end)
        ids = unhexlify(request.replace("-", ""))
        work, below = ids[8:], ids[:8]  # as in `digits_of`
        return (
            request.encode(),
            work[7:] + below[:7],
            below,
            work,
            floor((self.start + wall) * 1e9),
            floor((end + wall) * 1e9),
            floor((self.accepted + wall) * 1e9),
            floor((self.ended + wall) * 1e9),
            floor((self.taken + wall) * 1e9),
            floor((self.worked + wall) * 1e9),
            round(waited, 6) if waited else 0.0,
        )

    def records(self) -> list[SpanRecord]:
        """Its spans, once it has ended, as exporters are given them: its trace is not made for that."""
        trace_id, flags = digits_of(self.id), 1 if self.sampled else 0
        _, _, _, _, *times, waited = self.own()
        first, request, work = trace_id[_FIRST], trace_id[_REQUEST], trace_id[_WORK]
        own: list[Attributes] = [
            {},
            {REQUEST_ID: self.id},
            {QUEUE_WAIT: waited},
        ]
        return [
            SpanRecord(
                name,
                kind,
                trace_id,
                (first, request, work)[place],
                times[2 * place],
                times[2 * place + 1],
                ("", first, request)[place],
                flags=flags,
                attributes=Said(said, own[place]),
            )
            for place, (name, kind, said) in enumerate(self.alike().spans)
        ]


def _shared(said: Attributes) -> Attributes:
    return said.alike if isinstance(said, Said) else said


def digits_of(request: str) -> str:
    """The id of the trace that a request begins: the digits of its UUID, random ones but for six bits. The
    first of them are at the beginning of the trace id's last 8 bytes, which decide whether it is sampled."""
    plain = request.replace("-", "")
    return plain[16:] + plain[:16]
