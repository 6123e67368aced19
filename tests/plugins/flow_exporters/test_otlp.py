"""`otlp` in a flow, with a collector that is there, dead, slow, broken, lying, or never reads."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from flowcore import open_flow
from flowcore.assembly import Status
from flowcore.errors import CallError, SchemaViolation, UnknownTarget
from flowcore.flow import Flow
from flowcore.requests import Envelope, Guard
from flowcore.telemetry import ExporterSettings, Exporting, Signal, SpanRecord
from support.collector import attributes, collecting
from support.spans import span

CALLS = 40


@asynccontextmanager
async def flowing(url: str, *, sampling: float = 1.0, **more: Any) -> AsyncGenerator[Flow]:
    exporter = {"type": "otlp", "endpoint": url, "signals": ["traces"], "delay": "20ms", **more}
    telemetry = {"sampling": sampling}
    async with open_flow({"telemetry": telemetry, "exporter": {"to": exporter}}) as flow:
        yield flow


async def called(flow: Flow, times: int = CALLS) -> None:
    """So many calls, none of which fails, or waits for a collector."""
    for _ in range(times):
        assert not (await flow.call("flow.agents", {})).is_error


def counts(flow: Flow) -> dict[str, int]:
    told: dict[str, int] = flow.telemetry.status()["exporters"]["to"]["traces"]
    return told


async def test_spans_arrive_with_their_parents_and_what_they_say() -> None:
    with collecting() as collector:
        async with flowing(collector.url, attributes={"deployment.environment.name": "t"}) as flow:
            await flow.call("flow.agents", {})
            await collector.wait(2)
        request = collector.named("invoke_agent flow")
        work = collector.named("execute_tool agents")
        assert request.parent_span_id == b""
        assert work.parent_span_id == request.span_id
        assert work.trace_id == request.trace_id
        assert (request.kind, work.kind) == (1, 1)
        assert request.start_time_unix_nano <= work.start_time_unix_nano
        assert work.end_time_unix_nano <= request.end_time_unix_nano
        said = attributes(request.attributes)
        assert said["gen_ai.operation.name"] == "invoke_agent"
        assert said["gen_ai.agent.name"] == "flow"
        assert said["gen_ai.tool.name"] == "agents"
        assert collector.resources[0] == {
            "service.name": "flowcore",
            "service.version": flow.telemetry.resource["service.version"],
            "service.instance.id": "flow",
            "deployment.environment.name": "t",
        }
        assert collector.heads[0]["content-type"] == "application/x-protobuf"


async def test_arguments_and_results_are_told_only_where_that_is_asked_for() -> None:
    told = {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"}
    for content in (False, True):
        with collecting() as collector:
            exporter = {"type": "otlp", "endpoint": collector.url, "signals": ["traces"]}
            telemetry = {"sampling": 1.0, "content": content}
            async with open_flow({"telemetry": telemetry, "exporter": {"to": exporter}}) as flow:
                await flow.call("flow.agents", {})
                with pytest.raises(SchemaViolation, match="canary"):
                    await flow.call("flow.agents", {"canary": 1})
                seen = str([await flow.trace(one.trace.trace_id) for one in flow.telemetry.recent])
            assert ("canary" in seen) is content
            collector.spans.pop()  # the one that was refused
            said = attributes(collector.named("invoke_agent flow").attributes)
            assert (said.keys() >= told) is content
            assert not (not content and said.keys() & told)


async def test_what_waits_at_the_end_is_still_sent() -> None:
    with collecting() as collector:
        async with flowing(collector.url, delay="1h", compression="gzip", batch=64) as flow:
            await called(flow)
        assert len(collector.spans) == 2 * CALLS
        assert max(len(collector.spans) // max(1, collector.requests), 1) <= 64
        assert collector.heads[0]["content-encoding"] == "gzip"


async def test_only_what_is_sampled_or_fails_is_sent() -> None:
    with collecting() as collector:
        async with flowing(collector.url, sampling=0.0) as flow:
            await called(flow)
            with pytest.raises(UnknownTarget):
                await flow.call("flow.find_agents", {"role": 1, "nonsense": 2})
            with pytest.raises(CallError):
                await flow.requests.submit(_nobodys())
            assert len(flow.telemetry.recent) > CALLS  # they are remembered all the same
        assert [one.name for one in collector.spans] == ["invoke_agent nobody"]
        (failed,) = collector.spans
        assert failed.status.code == 2
        assert "nobody" in failed.status.message
        assert attributes(failed.attributes)["error.type"] == "UnknownTarget"


def _nobodys() -> Envelope:
    return Envelope(agent="nobody", name="x", params={}, deadline=trio.current_time() + 1)


async def test_a_dead_collector_costs_no_request_anything() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: refused
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with flowing(url, queue=64, batch=8) as flow:
            await called(flow)
            await _told(flow)
            assert flow.ready
            status = {one.component: one for one in flow.components()}["exporter.to"]
            assert status.status is Status.DEGRADED
            told = counts(flow)
            assert told["sent"] == 0
            assert told["waiting"] <= 64
        # what waited is dropped, and that is counted: nothing is silently lost
        assert flow.telemetry.counts("to")["traces"].dropped == 2 * CALLS


async def _told(flow: Flow) -> None:
    """Until an attempt to send has failed."""
    with trio.fail_after(20):
        while not counts(flow)["failures"]:  # noqa: ASYNC110
            await trio.sleep(0.005)


async def test_a_collector_that_comes_late_gets_what_waited() -> None:
    with collecting() as collector:
        collector.status = 503
        collector.headers["retry-after"] = "0"
        async with flowing(collector.url) as flow:
            await called(flow)
            await _told(flow)
            collector.status = 200
            await collector.wait(2 * CALLS)
            assert counts(flow)["dropped"] == 0
        assert len({one.span_id for one in collector.spans}) == 2 * CALLS


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, b"oops"), (200, b"\xff\xff garbage"), (400, b""), (301, b""), (204, b"")],
)
async def test_a_broken_collector_costs_spans_and_no_request(status: int, answer: bytes) -> None:
    with collecting() as collector:
        collector.status, collector.answer = status, answer
        async with flowing(collector.url) as flow:
            await called(flow)
        told = flow.telemetry.counts("to")["traces"]
        if status == 204:
            assert told.sent == 2 * CALLS
        else:
            assert told.dropped == 2 * CALLS
            assert told.failures >= 1


async def test_what_a_collector_says_it_did_not_take_is_counted() -> None:
    with collecting() as collector:
        collector.reject = 3
        async with flowing(collector.url, delay="1h", batch=512) as flow:
            await called(flow)
        told = flow.telemetry.counts("to")["traces"]
        assert (told.sent, told.dropped) == (2 * CALLS - 3, 3)


def too_large_for_one() -> list[SpanRecord]:
    """Spans that go in several requests, 128 in each."""
    return [msgspec.structs.replace(span(n), attributes={"text": "x" * 10_000}) for n in range(400)]


@pytest.mark.parametrize("status", [503, 400])
async def test_a_later_part_that_is_refused_is_lost_alone(status: int) -> None:
    with collecting() as collector:
        collector.statuses = [200, status]
        async with flowing(collector.url, delay="1h") as flow:
            (exporting,) = flow.telemetry.exporters.values()
            exporting.spans.put(too_large_for_one())
        told = flow.telemetry.counts("to")["traces"]
        assert (told.sent, told.dropped, told.failures) == (400 - 128, 128, 1)
        came = [one.span_id for one in collector.spans]
        assert len(came) == len(set(came)) == 400 - 128  # and nothing was sent twice


async def test_a_first_part_that_is_to_come_again_does_with_all_the_rest() -> None:
    with collecting() as collector:
        collector.statuses = [503]
        async with flowing(collector.url, delay="10ms") as flow:
            (exporting,) = flow.telemetry.exporters.values()
            exporting.spans.put(too_large_for_one())
            await collector.wait(400)
        told = flow.telemetry.counts("to")["traces"]
        assert (told.sent, told.dropped, told.failures) == (400, 0, 1)
        came = [one.span_id for one in collector.spans]
        assert len(came) == len(set(came)) == 400


async def test_a_large_batch_is_sent_in_several_requests_and_each_is_counted() -> None:
    large = too_large_for_one()
    with collecting() as collector:
        collector.reject = 3
        async with flowing(collector.url, delay="1h") as flow:
            (exporting,) = flow.telemetry.exporters.values()
            exporting.spans.put(large)
        told = flow.telemetry.counts("to")["traces"]
        assert len({one.span_id for one in collector.spans}) == len(large)
        assert 3 <= collector.requests <= 5
        assert told.dropped == 3 * collector.requests
        assert told.sent == len(large) - told.dropped


async def test_a_slow_collector_is_left_and_does_not_hold_up_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # virtual time: nothing waits in truth, and everything that would is counted exactly
    del autojump_clock
    taken = trio.Event()

    class Slow:
        signals: frozenset[Signal] = frozenset({"traces"})
        pages: dict[str, Any] = {}  # noqa: RUF012

        async def send_spans(self, spans: Any) -> None:
            taken.set()
            await trio.sleep_forever()

        async def send_logs(self, lines: Any) -> None: ...
        async def send_metrics(self, snapshot: Any) -> None: ...
        def status(self) -> dict[str, Any]:
            return {}

    exporting = Exporting("to", ExporterSettings(queue=100, batch=10), Slow(), None, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporting.run)
        exporting.spans.put([span(number) for number in range(150)])
        counted = exporting.counts["traces"]
        assert counted.dropped == 50  # there was no room
        await taken.wait()
        await trio.sleep(2.5)
        assert (counted.dropped, counted.failures) == (60, 1)  # the first batch was left after 2 s
        exporting.close()
    start = trio.current_time()
    await exporting.finish(2.5)
    assert trio.current_time() - start <= 2.5
    assert (counted.sent, counted.dropped, len(exporting.spans)) == (0, 150, 0)


async def test_a_collector_that_never_answers_is_left_when_the_flow_ends() -> None:
    with collecting() as collector:
        collector.hold = threading.Event()
        async with flowing(collector.url, timeout="200ms") as flow:
            await called(flow)
            await _told(flow)
            assert "longer than 0.2 s" in str(flow.telemetry.status()["exporters"]["to"])
        collector.hold.set()
        assert flow.telemetry.counts("to")["traces"].dropped == 2 * CALLS


async def test_a_collector_that_never_reads_is_left() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with flowing(url, timeout="200ms") as flow:
            await called(flow)
            await _told(flow)
        assert flow.telemetry.counts("to")["traces"].sent == 0


async def test_log_lines_arrive_with_the_trace_they_belong_to() -> None:
    with collecting() as collector:
        async with flowing(collector.url, signals=["traces", "logs"]) as flow:
            logging.getLogger("tests.telemetry").warning("outside")
            with pytest.raises(CallError):
                await flow.requests.submit(_broken(flow))
            await collector.wait(1)
        (outside,) = [one for one in collector.lines if one.body.string_value == "outside"]
        assert outside.trace_id == b""
        inside = [one for one in collector.lines if "failed" in one.body.string_value]
        assert inside[0].trace_id == collector.spans[0].trace_id
        assert "exception.stacktrace" in attributes(inside[0].attributes)


def _broken(flow: Flow) -> Envelope:
    """A request whose guard fails, which is told in the log."""

    class Broken(Guard):
        def enter(self, envelope: Envelope, now: float) -> None:
            raise ZeroDivisionError

    flow.requests.guards.place("flow", [Broken()])
    return Envelope(agent="flow", name="agents", params={}, deadline=trio.current_time() + 9)


async def test_metrics_arrive_and_are_those_that_the_node_tells() -> None:
    with collecting() as collector:
        async with flowing(collector.url, signals=["metrics"], interval="1h") as flow:
            await called(flow)
        # it is sent once more as the flow ends
        accepted = collector.metrics["flowcore.requests.accepted"]
        assert [one.as_int for one in accepted.sum.data_points] == [CALLS]
        (duration,) = [
            one
            for one in collector.metrics["flowcore.request.duration"].histogram.data_points
            if attributes(one.attributes)["gen_ai.tool.name"] == "agents"
        ]
        assert duration.count == CALLS
        assert sum(duration.bucket_counts) == CALLS
        assert "flowcore.loop.lateness" in collector.metrics
        assert not collector.spans
