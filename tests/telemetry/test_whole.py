"""Ordinary traces reach exporters whole, as what was noted of them: no span is lost, or another one."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flow_edges.mcp.recorded import Telling
from flow_exporters.otlp.messages import Messages
from flowcore import Flow, open_flow
from flowcore.agents.traced import LOCAL_WORK, Doer
from flowcore.envelope import new_request_id
from flowcore.http import open_client
from flowcore.telemetry import (
    Batch,
    ExporterSettings,
    Exporting,
    Noted,
    SpanKind,
    SpanRecord,
)
from support import faltering
from support.collector import attributes
from support.fragile import Fragile
from support.mcp_client import Raw as McpClient
from support.node import ROOT
from support.spans import span
from support.tracing import lone_tracer
from support.upstreaming import stdio_server

ROGUE = f"{ROOT}/tests/plugins/flow_agents/rogue.py"
IT = {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}


@asynccontextmanager
async def waiting(
    batch: int = 512, queue: int = 8192, **agents: Any
) -> AsyncGenerator[tuple[Flow, McpClient, Exporting]]:
    """A flow whose traces wait for an exporter that nobody runs."""
    config = {
        "plugins": {"files": [faltering.__file__]},
        "agent": {"it": IT, **agents},
        "telemetry": {"sampling": 1.0},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}},
    }
    async with open_flow(config) as flow, open_client() as http:
        await flow.wait_settled()
        settings = ExporterSettings(batch=batch, queue=queue)
        exporting = Exporting("to", settings, Fragile(), None, lambda _: None)
        flow.telemetry.attach(exporting)
        try:
            yield flow, McpClient(flow.endpoints["mcp"][0], http), exporting
        finally:
            flow.telemetry.detach("to")  # or it would listen to the lines of later tests


def read(body: bytes) -> list[dict[str, Any]]:
    """The spans of a request, as plain data."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "ids": (one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex()),
            "times": (one.start_time_unix_nano, one.end_time_unix_nano),
            "flags": one.flags,
            "state": one.trace_state,
            "failed": one.status.code,
            "said": attributes(one.attributes),
        }
        for one in request.resource_spans[0].scope_spans[0].spans
    ]


async def test_what_a_collector_reads_of_a_whole_trace_is_what_its_spans_say() -> None:
    up = {"type": "mcp", "command": stdio_server("--era", "modern")}
    async with waiting(up=up) as (flow, client, exporting):
        for number in range(3):
            await client.call("it.echo", {"text": f"{number}"})
            await client.call("up.echo", {"text": "x"})
        batch = exporting.spans.take()
        assert [type(one) for one in batch.items] == [Noted] * 6
        messages = Messages({})
        body = messages.spans(batch.items)
        for trace in flow.telemetry.recent:  # looked at since, they are still the same
            assert trace.spans is None
        assert messages.spans(batch.items) == body
        given = read(body)
        assert given == read(Messages({}).spans(list(batch)))
    assert len(batch) == len(given) == 18
    assert len({one["ids"] for one in given}) == 18
    names = [one["name"] for one in given[:6]]
    assert names[:3] == ["tools/call echo", "invoke_agent it", "execute_tool echo"]
    assert names[3:] == ["tools/call echo", "invoke_agent up", "tools/call echo"]
    for edge, request, work in zip(given[::3], given[1::3], given[2::3], strict=True):
        assert (edge["ids"][2], request["ids"][2]) == ("", edge["ids"][1])
        assert work["ids"][2] == request["ids"][1]
        order = [*(one["times"][0] for one in (edge, request, work))]
        order += [*(one["times"][1] for one in (work, request, edge))]
        assert sorted(order) == order
        assert edge["flags"] == request["flags"] == work["flags"] == 0x101
        assert len(request["said"]["flowcore.request.id"]) == 36
        assert work["said"]["flowcore.queue.wait"] >= 0.0


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
async def test_batches_are_no_larger_than_they_may_be_and_all_is_in_one_of_them(most: int) -> None:
    async with waiting(batch=most) as (_, client, exporting):
        exporting.spans.put([span(1)])
        for _ in range(3):
            await client.call("it.echo", {"text": "x"})
        exporting.spans.put([span(2)])
        assert len(exporting.spans) == 11
        batches: list[Sequence[SpanRecord]] = []
        while batch := exporting.spans.take():
            assert len(batch) == len(list(batch)) <= most
            batches.append(batch)
            assert len(exporting.spans) == 11 - sum(map(len, batches))
    spans = [*itertools.chain.from_iterable(batches)]
    assert len({(one.trace_id, one.span_id) for one in spans}) == len(spans) == 11
    names = [one.name for one in spans]
    assert names[0] == "work 1"
    assert names[-1] == "work 2"
    assert names[1:-1:3] == [names[1]] * 3
    assert names[3:-1:3] == ["execute_tool echo"] * 3


async def test_a_batch_that_was_not_taken_waits_again_as_it_was() -> None:
    async with waiting(queue=8) as (_, client, exporting):
        for _ in range(3):
            await client.call("it.echo", {"text": "x"})
        assert exporting.counts["traces"].dropped == 3  # there is no room for part of a trace
        batch = exporting.spans.take()
        assert isinstance(batch, Batch)
        exporting.spans.restore(batch)
        assert len(exporting.spans) == 6
        again = exporting.spans.take()
        assert again.items == batch.items
        assert list(again) == list(batch)


@pytest.mark.parametrize("era", ["handshake", "modern", "process"])
@pytest.mark.parametrize("more", [{}, {"com.example/own": [1]}, {"progressToken": 7}])
async def test_an_upstream_is_told_whose_work_it_is(era: str, more: dict[str, Any]) -> None:
    up: dict[str, Any] = {"type": "mcp", "command": stdio_server("--era", era)}
    tool = "meta"
    if era == "process":
        up, tool = (
            {"type": "process", "command": ["python", "-I", "-S", ROGUE, "well"]},
            "echo_meta",
        )
    async with waiting(up=up) as (_, client, exporting):
        answer = await client.call(f"up.{tool}", meta=more)
        meta = answer.result["structuredContent"]["meta"]
        work = list(exporting.spans.take())[-1]
    assert meta["traceparent"] == f"00-{work.trace_id}-{work.span_id}-01"
    assert "tracestate" not in meta
    assert meta.get("com.example/own") == more.get("com.example/own")


async def test_each_attempt_tells_of_itself_once() -> None:
    async with waiting(up={"type": "faltering", "fails": 2}) as (flow, client, _):
        answer = await client.call("up.echo", meta={"com.example/own": [1]})
        passed = answer.result["structuredContent"]["passed"]
        (trace,) = flow.telemetry.recent
        attempts = [one for one in trace.records() if one.kind is SpanKind.CLIENT]
    assert len(passed) == len(attempts) == 3
    assert [one.count("traceparent") for one in passed] == [1, 1, 1]
    for told, span_ in zip(passed, attempts, strict=True):
        meta = json.loads(f"{{{told}}}")
        assert meta["com.example/own"] == [1]
        assert meta["traceparent"] == f"00-{span_.trace_id}-{span_.span_id}-01"


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 3000.0),
            st.sampled_from(["echo", "wait", "ä" * 200]),
            st.floats(0.0, 9.0),
        ),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.floats(0.0, 1e9), min_size=1, max_size=5),
)
def test_traces_of_all_sorts_and_times_are_put_as_their_spans_are(
    some: list[tuple[float, str, float]], walls: list[float]
) -> None:
    now = wall = 0.0
    tracer = lone_tracer(1.0, now=lambda: now, wall=lambda: wall + now)
    for step, wall in enumerate(walls):  # noqa: B007  # the clock is set
        now = 700.0 * step
        tracer.ahead(now)
    telling, label = Telling(tracer, "mcp", "tcp"), Doer(LOCAL_WORK, "it-1", False, False)
    noted = [
        Noted(
            new_request_id(),
            "it",
            "tools/call",
            name,
            "anonymous",
            start + 0.25,
            start + 30.0,
            "mcp",
            ended=start + waited + 0.75,
            opening=telling,
            version="2026-07-28",
            address="127.0.0.1",
            start=start,
            sampled=True,
            label=label,
            waited=waited,
            taken=start + waited + 0.25,
            worked=start + waited + 0.5,
            answered=True,
            end=start + waited + 1.0,
        )
        for start, name, waited in some
    ]
    others = [span(number) for number in range(3)]
    whole = Messages({}).spans([others[0], *noted, *others[1:]])
    alone = [record for one in noted for record in one.records()]
    assert read(whole) == read(Messages({}).spans([others[0], *alone, *others[1:]]))
