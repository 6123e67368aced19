"""Ordinary traces as OTLP's bytes: of each sort all is made once but for ids, times, what is each one's own.

These are as long in one as in any other, so that all has its place: a span is one packing of a structure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from flow_exporters.otlp.body import Body
from flow_exporters.otlp.wire import key, text, varint
from flowcore.telemetry import QUEUE_WAIT, REQUEST_ID, Alike, Attributes, Noted

ITEM: Final = key(2, 2)
"""ScopeSpans.spans, ScopeLogs.log_records, ScopeMetrics.metrics: all of them are field 2."""
# the keys of Span (opentelemetry/proto/trace/v1/trace.proto), with what never changes
TRACE_ID, SPAN_ID = key(1, 2) + varint(16), key(2, 2) + varint(8)
PARENT, NAME, KIND = key(4, 2) + varint(8), key(5, 2), key(6, 0)
START, END, ATTRIBUTES, FLAGS = key(7, 1), key(8, 1), key(9, 2), key(16, 5)
HAS_REMOTE: Final = 0x100
_KEPT: Final = FLAGS + (HAS_REMOTE | 1).to_bytes(4, "little")
"""The flags of a span that is sampled, and part of one of this node's or of none."""

_FIRST, _BELOW, _TIMES = "8s8s2s8s", "8s8s2s8s2s8s", "sQsQ"
"""The ids of the first span of a trace, and of one below another, after their keys, that of the trace in
halves; a span's times."""
_ID, _WAIT = "36s", "d"
"""What the request's span, and that of the work on it, have of their own."""


class Form:
    """The ordinary traces of one sort, whose `fields` are made of attributes."""

    def __init__(self, alike: Alike, fields: Callable[[Attributes], bytes]) -> None:
        edge, request, work = (
            text(NAME, name) + KIND + varint(kind) + fields(said) + _KEPT
            for name, kind, said in alike.spans
        )
        request += fields({REQUEST_ID: "-" * 36})[:-36]
        work += fields({QUEUE_WAIT: 0.0})[:-8]
        # what is alike, up to what is not
        self._edge = _head(_FIRST, edge, "")
        self._request = edge + _head(_BELOW, request, _ID)
        self._own_id = request
        self._work = _head(_BELOW, work, _WAIT)
        self._own_wait = work
        # a structure for each span: calls of more than 30 arguments take the long way in CPython
        first = struct.Struct(f"<{len(self._edge)}s{_FIRST}{_TIMES}")
        second = struct.Struct(f"<{len(self._request)}s{_BELOW}{_TIMES}{len(request)}s{_ID}")
        third = struct.Struct(f"<{len(self._work)}s{_BELOW}{_TIMES}{len(work)}s{_WAIT}")
        self._pack_edge, self._pack_request = first.pack_into, second.pack_into
        self._pack_work = third.pack_into
        self._to_request, self._to_work = first.size, first.size + second.size
        self._size = self._to_work + third.size

    def put(self, noted: Noted, body: Body) -> None:
        """Put the spans of such a trace, as items of a request, at its end."""
        said, edge, request, work, start, end, accepted, ended, taken, worked, waited = noted.own()
        at, buffer = body.take(self._size), body.buffer
        # fmt: off
        self._pack_edge(
            buffer, at, self._edge, work, request, SPAN_ID, edge, START, start, END, end
        )
        self._pack_request(
            buffer, at + self._to_request,
            self._request, work, request, SPAN_ID, request, PARENT, edge,
            START, accepted, END, ended, self._own_id, said,
        )
        self._pack_work(
            buffer, at + self._to_work,
            self._work, work, request, SPAN_ID, work, PARENT, request,
            START, taken, END, worked, self._own_wait, waited,
        )
        # fmt: on


def _head(ids: str, alike: bytes, own: str) -> bytes:
    """What stands before a span, up to its trace's id."""
    size = len(TRACE_ID) + len(alike) + struct.calcsize(f"<{ids}{_TIMES}{own}")
    return ITEM + varint(size) + TRACE_ID
