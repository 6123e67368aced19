"""Ordinary traces as OTLP's bytes: of each sort all is made once but for ids, times, what is each one's own.

These are as long in one as in any other, so that all has its place: it is put there for many traces at once.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

import numpy as np
import numpy.typing as npt

from flow_exporters.otlp.body import Body
from flow_exporters.otlp.wire import key, text, varint
from flowcore.telemetry import QUEUE_WAIT, REQUEST_ID, SPAN_IDS, Alike, Attributes, Noted

ITEM: Final = key(2, 2)
"""ScopeSpans.spans, ScopeLogs.log_records, ScopeMetrics.metrics: all of them are field 2."""
# the keys of Span (opentelemetry/proto/trace/v1/trace.proto), with what never changes
TRACE_ID, SPAN_ID = key(1, 2) + varint(16), key(2, 2) + varint(8)
PARENT, NAME, KIND = key(4, 2) + varint(8), key(5, 2), key(6, 0)
START, END, ATTRIBUTES, FLAGS = key(7, 1), key(8, 1), key(9, 2), key(16, 5)
HAS_REMOTE: Final = 0x100
_KEPT: Final = FLAGS + (HAS_REMOTE | 1).to_bytes(4, "little")
"""The flags of a span that is sampled, and part of one of this node's or of none."""

_OWN: Final = np.dtype(
    [
        ("edge", [("trace", "V16"), ("id", "V8"), ("start", "<u8"), ("end", "<u8")]),
        (
            "request",
            [
                *[
                    ("trace", "V16"),
                    ("id", "V8"),
                    ("above", "V8"),
                    ("start", "<u8"),
                    ("end", "<u8"),
                ],
                ("said", "V36"),
            ],
        ),
        (
            "work",
            [
                *[
                    ("trace", "V16"),
                    ("id", "V8"),
                    ("above", "V8"),
                    ("start", "<u8"),
                    ("end", "<u8"),
                ],
                ("waited", "<f8"),
            ],
        ),
    ]
)
"""What an ordinary trace has of its own, in the order of its bytes: ids, nanoseconds of Unix time, the id of
the request as text, and seconds in the queue."""
_SORT = attrgetter("opening", "label", "version", "address", "principal", "agent", "method", "name")
_ID, _WAITED = attrgetter("id"), attrgetter("waited")
_TIMES = attrgetter("start", "end", "accepted", "ended", "taken", "worked")
Sort = tuple[object, ...]


class Form:
    """The ordinary traces of one sort, whose `fields` are made of attributes."""

    def __init__(self, alike: Alike, fields: Callable[[Attributes], bytes]) -> None:
        edge, request, work = (
            text(NAME, name) + KIND + varint(kind) + fields(said) + _KEPT
            for name, kind, said in alike.spans
        )
        request += fields({REQUEST_ID: "-" * 36})[:-36]
        work += fields({QUEUE_WAIT: 0.0})[:-8]
        ids, times = (TRACE_ID, 16, SPAN_ID, 8), (START, 8, END, 8)
        below = (*ids, PARENT, 8, *times)
        self.bytes = b""
        """Its bytes, with gaps for what is a trace's own."""
        gaps: list[int] = []
        for span in ((*ids, *times, edge), (*below, request, 36), (*below, work, 8)):
            self.bytes += ITEM + varint(
                sum(one if isinstance(one, int) else len(one) for one in span)
            )
            for one in span:
                if isinstance(one, int):
                    gaps += range(len(self.bytes), len(self.bytes) + one)
                    one = bytes(one)
                self.bytes += one
        self.gaps = np.array(gaps)
        """Where the bytes of `_OWN` belong in it."""


class Forms:
    """Makes ordinary traces of all sorts."""

    def __init__(self, fields: Callable[[Attributes], bytes], most: int) -> None:
        """The forms of `most` sorts are kept."""
        self._fields = fields
        self._most = most
        self._known: dict[Sort, Form] = {}

    def put(self, traces: Sequence[Noted], body: Body) -> None:
        """Put the spans of such traces, as items of a request, at its end."""
        get = self._known.get
        forms = [
            get(sort) or self._form(sort, one)
            for sort, one in zip(map(_SORT, traces), traces, strict=True)
        ]
        places = {form: place for place, form in enumerate(dict.fromkeys(forms))}
        which = np.array([places[form] for form in forms])
        sizes = np.array([len(form.bytes) for form in places])[which]
        gaps = np.stack([form.gaps for form in places])[which]
        whole = bytearray().join([form.bytes for form in forms])
        gaps += (np.cumsum(sizes) - sizes)[:, np.newaxis]
        np.frombuffer(whole, np.uint8)[gaps] = _own(traces)
        body.add(whole)

    def _form(self, sort: Sort, trace: Noted) -> Form:
        if len(self._known) >= self._most:
            self._known.clear()
        form = self._known[sort] = Form(trace.alike(), self._fields)
        return form


def _own(traces: Sequence[Noted]) -> npt.NDArray[np.uint8]:
    """What they have of their own: a row of bytes for each."""
    texts = "".join(map(_ID, traces))
    count = len(traces)
    halves = np.frombuffer(unhexlify(texts.replace("-", "")), np.uint8).reshape(count, 2, 8)
    trace = np.ascontiguousarray(halves[:, ::-1]).reshape(count, 16)
    edge, request, work = (np.ascontiguousarray(trace[:, one]).view("V8")[:, 0] for one in SPAN_IDS)
    numbers = chain.from_iterable(map(_TIMES, traces))
    times = np.fromiter(numbers, float, 6 * count).reshape(count, 6)
    since, ahead = np.array(traces[0].opening.tracer.steps).T
    wall = ahead[np.maximum(np.searchsorted(since, times[:, 1], "right") - 1, 0)]
    times = np.floor((times + wall[:, np.newaxis]) * 1e9).astype(np.uint64)
    own = np.zeros(count, _OWN)
    for place, (span, id_) in enumerate((("edge", edge), ("request", request), ("work", work))):
        column = own[span]
        column["trace"] = trace.view("V16")[:, 0]
        column["id"] = id_
        column["start"], column["end"] = times[:, 2 * place], times[:, 2 * place + 1]
    own["request"]["above"], own["work"]["above"] = edge, request
    own["request"]["said"] = np.frombuffer(texts.encode(), "V36")
    if any(waited := [*map(_WAITED, traces)]):
        own["work"]["waited"] = [round(one, 6) for one in waited]
    return own.view(np.uint8).reshape(count, -1)
