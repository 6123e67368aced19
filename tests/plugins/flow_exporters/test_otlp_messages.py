"""What `otlp` writes, read with OpenTelemetry's own classes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from flow_exporters.otlp.messages import Messages
from flow_exporters.otlp.wire import rejected, varint
from flowcore.telemetry import Distribution, Family, LogLine, Said, Snapshot, SpanKind, SpanRecord
from flowcore.telemetry import counter as of_counter
from flowcore.telemetry import gauge as of_gauge
from flowcore.telemetry import histogram as of_histogram
from support.collector import attributes

RESOURCE = {"service.name": "flowcore", "service.version": "1"}
hexes = st.binary(min_size=16, max_size=16).map(bytes.hex)
values = (
    st.text(max_size=200)
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False)
    | st.lists(st.text(max_size=20), max_size=4).map(tuple)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
said = st.dictionaries(texts.filter(bool), values, max_size=6)
spans = st.builds(
    SpanRecord,
    name=texts,
    kind=st.sampled_from(SpanKind),
    trace_id=hexes,
    span_id=hexes.map(lambda one: one[:16]),
    parent_id=st.just("") | hexes.map(lambda one: one[:16]),
    remote=st.booleans(),
    flags=st.sampled_from([0, 1]),
    state=st.sampled_from(["", "a=1,b=2"]),
    start=st.integers(0, 2**63),
    end=st.integers(0, 2**63),
    attributes=said | st.builds(Said, said, said),
    error=texts,
    failed=st.booleans(),
    links=st.lists(st.tuples(hexes, hexes.map(lambda one: one[:16])), max_size=2).map(tuple),
)


@given(st.lists(spans, max_size=5))
def test_spans_are_read_as_they_were_written(given_: list[SpanRecord]) -> None:
    messages = Messages(RESOURCE)
    body = messages.spans(given_)
    assert messages.spans(given_) == body  # what is remembered of the first is the same
    read = ExportTraceServiceRequest.FromString(body)
    (resource,) = read.resource_spans
    assert attributes(resource.resource.attributes) == RESOURCE
    (scope,) = resource.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("flowcore", "1")
    assert len(scope.spans) == len(given_)
    for span, one in zip(scope.spans, given_, strict=True):
        assert span.name == one.name
        assert span.kind == int(one.kind)
        assert span.trace_id.hex() == one.trace_id
        assert span.span_id.hex() == one.span_id
        assert span.parent_span_id.hex() == one.parent_id
        assert span.trace_state == one.state
        assert span.start_time_unix_nano == one.start
        assert span.end_time_unix_nano == max(one.start, one.end)
        assert attributes(span.attributes) == dict(one.attributes)
        assert span.flags == one.flags | 0x100 | (0x200 if one.remote else 0)
        assert span.status.code == (2 if one.failed else 0)
        assert span.status.message == (one.error if one.failed else "")
        assert [(one.trace_id.hex(), one.span_id.hex()) for one in span.links] == [*one.links]


def test_equal_values_of_other_types_stay_apart() -> None:
    record = SpanRecord(
        name="x",
        kind=SpanKind.CLIENT,
        trace_id="1" * 32,
        span_id="2" * 16,
        start=1,
        end=2,
        attributes={"a": 1, "b": True, "c": 1.0, "d": 2**70},
    )
    messages = Messages({})
    for _ in range(2):
        read = ExportTraceServiceRequest.FromString(messages.spans([record]))
        said = attributes(read.resource_spans[0].scope_spans[0].spans[0].attributes)
        assert said == {"a": 1, "b": True, "c": 1.0, "d": str(2**70)}
        assert [type(one) for one in said.values()] == [int, bool, float, str]


def test_lines_are_read_as_they_were_written() -> None:
    lines = [
        LogLine(
            time=5,
            level=30,
            logger="a.b",
            message="said",
            trace_id="1" * 32,
            span_id="2" * 16,
            attributes={"x": 1},
        ),
        LogLine(time=6, level=5, logger="c", message=""),
        LogLine(time=7, level=50, logger="c", message="\udc80"),
    ]
    read = ExportLogsServiceRequest.FromString(Messages(RESOURCE).logs(lines))
    first, second, third = read.resource_logs[0].scope_logs[0].log_records
    assert (first.time_unix_nano, first.severity_number, first.severity_text) == (5, 13, "WARN")
    assert first.body.string_value == "said"
    assert (first.trace_id.hex(), first.span_id.hex()) == ("1" * 32, "2" * 16)
    assert attributes(first.attributes) == {"log.logger": "a.b", "x": 1}
    assert (second.severity_text, second.trace_id) == ("DEBUG", b"")
    assert (third.severity_text, third.body.string_value) == ("FATAL", "?")


def test_metrics_are_read_as_they_were_written() -> None:
    held = Distribution((0.5, 1.0), (1, 0, 2), 7.5, 3)
    snapshot = Snapshot(
        node="n",
        version="1",
        started=1.0,
        time=2.5,
        families=(
            Family(of_counter("x.a", "s", "about it", "agent"), ((("x",), 3), (("y",), 4.5))),
            Family(of_gauge("x.b", "s", "about it", "agent"), ((("x",), -3),)),
            Family(of_histogram("x.c", "s", "about it", "agent"), ((("x",), held),)),
        ),
    )
    read = ExportMetricsServiceRequest.FromString(Messages(RESOURCE).metrics(snapshot))
    counter, gauge, histogram = read.resource_metrics[0].scope_metrics[0].metrics
    assert (counter.name, counter.unit, counter.description) == ("x.a", "s", "about it")
    assert counter.sum.is_monotonic
    assert counter.sum.aggregation_temporality == 2
    one, other = counter.sum.data_points
    assert (one.as_int, other.as_double) == (3, 4.5)
    assert (one.start_time_unix_nano, one.time_unix_nano) == (10**9, 2_500_000_000)
    assert attributes(one.attributes) == {"flowcore.agent": "x"}
    assert gauge.gauge.data_points[0].as_int == -3
    (point,) = histogram.histogram.data_points
    assert histogram.histogram.aggregation_temporality == 2
    assert (point.count, point.sum) == (3, 7.5)
    assert [*point.bucket_counts] == [1, 0, 2]
    assert [*point.explicit_bounds] == [0.5, 1.0]


@given(st.integers(0, 2**63 - 1), texts)
def test_what_a_collector_did_not_take_is_read(count: int, why: str) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=why)
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    assert rejected(body) == (count, why)
    assert rejected(b"") == (0, "")


@given(st.binary(max_size=64))
def test_any_answer_is_read_or_refused(body: bytes) -> None:
    try:
        count, why = rejected(body)
    except ValueError:
        return
    assert count >= 0
    assert isinstance(why, str)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_numbers_take_seven_bits_a_byte(number: int) -> None:
    data = varint(number)
    assert sum((octet & 127) << 7 * place for place, octet in enumerate(data)) == number
    assert len(data) == max(1, math.ceil(number.bit_length() / 7))
