"""What is exported as OTLP's requests: opentelemetry/proto/collector/{trace,logs,metrics}/v1."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from flow_exporters.otlp.body import Body
from flow_exporters.otlp.ordinary import (
    ATTRIBUTES,
    END,
    FLAGS,
    HAS_REMOTE,
    ITEM,
    KIND,
    NAME,
    PARENT,
    SPAN_ID,
    START,
    TRACE_ID,
    Form,
)
from flow_exporters.otlp.wire import (
    Pairs,
    any_value,
    double,
    fixed,
    key,
    packed_double,
    packed_fixed,
    part,
    signed,
    text,
    varint,
)
from flowcore.telemetry import (
    Alike,
    Attributes,
    Distribution,
    Family,
    Kind,
    LogLine,
    Noted,
    Number,
    Said,
    Snapshot,
    SpanRecord,
    Value,
)

SCOPE: Final = "flowcore"
_CUMULATIVE: Final = key(2, 0) + varint(2)
_REMOTE: Final = 0x200
_FAILED: Final = key(3, 0) + varint(2)
_SEVERITIES: Final = ((50, 21, "FATAL"), (40, 17, "ERROR"), (30, 13, "WARN"), (20, 9, "INFO"))
_STATE, _LINK, _STATUS = key(3, 2), key(13, 2), key(15, 2)
_TIMES: Final = struct.Struct("<BQBQ").pack
_MOST_SORTS: Final = 1024


class Messages:
    """Makes requests of one resource."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        self._pairs = Pairs()
        self._sorts: dict[tuple[int, str, int, int, bool], tuple[Attributes, bytes]] = {}
        """What spans of a sort have alike, as bytes; by the identity of what they say, held so that nothing
        else can be it."""
        self._forms: dict[Alike, Form] = {}
        """Those of ordinary traces."""
        self._texts: dict[tuple[str, int], bytes] = {}
        self._floats: dict[str, bytes] = {}
        """What stands before the value of an attribute, by its name and its value's length."""
        attributes = self._pairs.fields(key(1, 2), resource)
        self._resource = part(key(1, 2), attributes)
        version = resource.get("service.version", "")
        self._scope = part(key(1, 2), text(key(1, 2), SCOPE) + text(key(2, 2), version))

    def body(self) -> Body:
        """For the items of requests."""
        return Body(len(self._head(1 << 34)))

    def request(self, body: Body) -> memoryview:
        """An Export{Trace,Logs,Metrics}ServiceRequest of such items: one resource with one scope. Valid as
        long as `Body.whole` says."""
        return body.whole(self._head(len(body)))

    def _head(self, size: int) -> bytes:
        """What comes before items of so many bytes."""
        scope = key(2, 2) + varint(len(self._scope) + size) + self._scope
        inner = self._resource + scope
        return key(1, 2) + varint(len(inner) + size) + inner

    def spans(self, spans: Sequence[SpanRecord | Noted]) -> bytes:
        """An ExportTraceServiceRequest."""
        body = self.body()
        self.put_spans(spans, body)
        return bytes(self.request(body))

    def put_spans(self, spans: Iterable[SpanRecord | Noted], body: Body) -> None:
        """Put spans, and whole traces as what was noted of them, into a request."""
        forms = self._forms
        for one in spans:
            if isinstance(one, Noted):
                alike = one.alike()
                (forms.get(alike) or self._form(alike)).put(one, body)
            else:
                body.add(part(ITEM, self._span(one)))

    def _form(self, alike: Alike) -> Form:
        if len(self._forms) >= _MOST_SORTS:
            self._forms.clear()
        form = self._forms[alike] = Form(alike, partial(self._pairs.fields, ATTRIBUTES))
        return form

    def _span(self, span: SpanRecord) -> bytes:
        said = span.attributes
        if type(said) is Said and not (span.failed or span.state or span.links):
            return self._ordinary(span, said)
        flags = span.flags | HAS_REMOTE | (_REMOTE if span.remote else 0)
        pieces = [
            TRACE_ID,
            bytes.fromhex(span.trace_id),
            SPAN_ID,
            bytes.fromhex(span.span_id),
            text(_STATE, span.state),
            PARENT + bytes.fromhex(span.parent_id) if span.parent_id else b"",
            text(NAME, span.name),
            KIND,
            varint(span.kind),
            START,
            fixed(span.start),
            END,
            fixed(max(span.start, span.end)),
            self._pairs.fields(ATTRIBUTES, span.attributes),
        ]
        for trace_id, span_id in span.links:
            link = TRACE_ID + bytes.fromhex(trace_id) + SPAN_ID + bytes.fromhex(span_id)
            pieces.append(part(_LINK, link))
        if span.failed:
            pieces.append(part(_STATUS, text(key(2, 2), span.error) + _FAILED))
        pieces += (FLAGS, flags.to_bytes(4, "little"))
        return b"".join(pieces)

    def _ordinary(self, span: SpanRecord, said: Said) -> bytes:
        """A span of which most was said before, of others of its sort: that is made once."""
        sort = (id(said.alike), span.name, span.kind, span.flags, span.remote)
        known = self._sorts.get(sort)
        if known is None:
            flags = span.flags | HAS_REMOTE | (_REMOTE if span.remote else 0)
            same = (
                text(NAME, span.name),
                KIND,
                varint(span.kind),
                self._pairs.fields(ATTRIBUTES, said.alike),
                FLAGS,
                flags.to_bytes(4, "little"),
            )
            if len(self._sorts) >= _MOST_SORTS:
                self._sorts.clear()
            known = self._sorts[sort] = (said.alike, b"".join(same))
        start = span.start
        end = span.end if span.end > start else start
        ids = f"0a10{span.trace_id}1208{span.span_id}"
        if span.parent_id:
            ids = f"{ids}2208{span.parent_id}"
        pieces = [bytes.fromhex(ids), _TIMES(0x39, start, 0x41, end), known[1]]
        for name, value in said.own.items():
            pieces.append(self._own(name, value) if name not in said.alike else b"")
        return b"".join(pieces)

    def _own(self, name: str, value: Value) -> bytes:
        """An attribute that is another with each span: but for its value it was made before."""
        if type(value) is float:
            before = self._floats.get(name)
            if before is None:
                before = self._floats[name] = self._pairs.fields(ATTRIBUTES, {name: value})[:-8]
            return before + double(value)
        if type(value) is str:
            data = value.encode("utf-8", "replace")
            size = len(data)
            before = self._texts.get((name, size))
            if before is None:
                before = self._pairs.fields(ATTRIBUTES, {name: value})[: -size or None]
                if len(self._texts) >= _MOST_SORTS:
                    self._texts.clear()
                self._texts[name, size] = before
            return before + data
        return self._pairs.fields(ATTRIBUTES, {name: value})

    def logs(self, lines: Sequence[LogLine]) -> bytes:
        """An ExportLogsServiceRequest."""
        body = self.body()
        self.put_lines(lines, body)
        return bytes(self.request(body))

    def put_lines(self, lines: Sequence[LogLine], body: Body) -> None:
        """Put log lines into a request."""
        for line in lines:
            body.add(part(ITEM, self._line(line)))

    def _line(self, line: LogLine) -> bytes:
        number, name = severity(line.level)
        attributes = {"log.logger": line.logger, **line.attributes}
        pieces = [
            key(1, 1) + fixed(line.time),
            key(2, 0) + varint(number),
            text(key(3, 2), name),
            part(key(5, 2), any_value(line.message)),
            self._pairs.fields(key(6, 2), attributes),
        ]
        if line.trace_id:
            pieces.append(part(key(9, 2), bytes.fromhex(line.trace_id)))
        if line.span_id:
            pieces.append(part(key(10, 2), bytes.fromhex(line.span_id)))
        pieces.append(key(11, 1) + fixed(line.time))
        return b"".join(pieces)

    def metrics(self, snapshot: Snapshot) -> bytes:
        """An ExportMetricsServiceRequest of all metrics."""
        span = (
            key(2, 1) + fixed(round(snapshot.started * 1e9)),
            key(3, 1) + fixed(round(snapshot.time * 1e9)),
        )
        body = self.body()
        for one in snapshot.families:
            body.add(part(ITEM, self._family(one, b"".join(span))))
        return bytes(self.request(body))

    def _family(self, family: Family, span: bytes) -> bytes:
        metric = family.metric
        points = b"".join(
            part(
                key(1, 2),
                self._point(span, dict(zip(metric.attributes, labels, strict=True)), value),
            )
            for labels, value in family.points
        )
        if metric.kind is Kind.COUNTER:
            data = part(key(7, 2), points + _CUMULATIVE + key(3, 0) + varint(1))
        elif metric.kind is Kind.HISTOGRAM:
            data = part(key(9, 2), points + _CUMULATIVE)
        else:
            data = part(key(5, 2), points)
        head = text(key(1, 2), metric.name) + text(key(2, 2), metric.help)
        return head + text(key(3, 2), metric.unit) + data

    def _point(self, span: bytes, attributes: dict[str, str], value: Number) -> bytes:
        if isinstance(value, Distribution):
            return self._distribution(span, attributes, value)
        whole = isinstance(value, int) and -(1 << 63) <= value < 1 << 63
        number = key(6, 1) + signed(int(value)) if whole else key(4, 1) + double(value)
        return span + number + self._pairs.fields(key(7, 2), attributes)

    def _distribution(self, span: bytes, attributes: dict[str, str], value: Distribution) -> bytes:
        return b"".join(
            (
                span,
                key(4, 1) + fixed(value.count),
                key(5, 1) + double(value.sum),
                part(key(6, 2), packed_fixed(value.counts)),
                part(key(7, 2), packed_double(value.bounds)),
                self._pairs.fields(key(9, 2), attributes),
            )
        )


def severity(level: int) -> tuple[int, str]:
    """OTLP's number and name for a level of `logging`."""
    for least, number, name in _SEVERITIES:
        if level >= least:
            return number, name
    return 5, "DEBUG"
