"""What a node tells of itself, as exporters are given it: finished spans and log lines.

Plain frozen data, in OpenTelemetry's terms and without its SDK. Times are in nanoseconds of Unix time.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

import msgspec

Value = str | bool | int | float | tuple[str, ...]
"""What an attribute may be."""
Attributes = Mapping[str, Value]


class SpanKind(enum.IntEnum):
    """Which side of a call a span is; the numbers are OTLP's."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


class Said(Mapping[str, Value]):
    """What a span says: what all of its sort say alike, which is one object for all of them and never
    changes, and what is its own. So what is made of the former can be made once."""

    __slots__ = ("alike", "own")

    def __init__(self, alike: Attributes, own: Attributes) -> None:
        self.alike = alike
        self.own = own

    def __getitem__(self, name: str) -> Value:
        return self.own[name] if name in self.own else self.alike[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.alike
        yield from (name for name in self.own if name not in self.alike)

    def __len__(self) -> int:
        return len(self.alike.keys() | self.own.keys())

    def __repr__(self) -> str:
        return repr(dict(self))


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of an ordinary request's way, as its span tells of it: times on the flow's clock."""

    name: str
    kind: SpanKind
    start: float
    end: float
    attributes: Attributes


class SpanRecord(msgspec.Struct, frozen=True):
    """A span that has ended."""

    name: str
    kind: SpanKind
    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    start: int
    end: int
    parent_id: str = ""
    """Of the span it is part of; "" for the first of a trace."""
    remote: bool = False
    """Whether that one is somebody else's: a client's, or another node's."""
    flags: int = 0
    state: str = ""
    """The `tracestate` that came along."""
    attributes: Attributes = {}
    error: str = ""
    """What went wrong, for a person; "" if there is nothing to say."""
    failed: bool = False
    """Whether it went wrong; `error.type` is among the attributes then."""
    links: tuple[tuple[str, str], ...] = ()
    """Trace and span ids of others that it has to do with."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A log line."""

    time: int
    level: int
    """As `logging` counts: 10 debug, 20 info, 30 warning, 40 error, 50 critical."""
    logger: str
    message: str
    trace_id: str = ""
    span_id: str = ""
    attributes: Attributes = {}
