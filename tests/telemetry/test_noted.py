"""An edge gives an ordinary request no trace until somebody looks; then it has the one it would have had."""

from __future__ import annotations

import gc
import json
import pathlib
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.http import open_client
from flowcore.requests import Envelope
from flowcore.telemetry import Noted, SpanRecord, Trace, current_span
from support import relaying
from support.mcp_client import Raw as McpClient
from support.node import ROOT
from support.tracing import lone_tracer

AGENTS = {
    "it": {"type": "python", "target": f"{ROOT}/tests/support/agents.py"},
    "relay": {"type": "python", "target": "support.relaying:relay"},
}


@asynccontextmanager
async def edge(more: Any = None, **telemetry: Any) -> AsyncGenerator[tuple[Flow, McpClient]]:
    config = {
        "agent": AGENTS,
        "telemetry": {"sampling": 0.0, **telemetry},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}},
        **(more or {}),
    }
    async with open_flow(config) as flow, open_client() as http:
        await flow.wait_settled()
        yield flow, McpClient(flow.endpoints["mcp"][0], http)


def noted(flow: Flow) -> list[Noted]:
    """The requests of which nothing was made, latest first."""
    known = flow.requests.tracker.entries()
    found = [one for one in known if isinstance(one, Noted) and one.made is None]
    return [one for one in found if one.answered or one.outcome is None]


async def called(client: McpClient, name: str, arguments: dict[str, Any], **more: Any) -> Any:
    body, headers = client.modern("tools/call", {"name": name, "arguments": arguments}, **more)
    return await client.post(body, headers)


def traces() -> list[Trace]:
    """Those that there are at all."""
    return [one for one in gc.get_objects() if isinstance(one, Trace)]


def shape(trace: Trace) -> list[tuple[str, str]]:
    """Its spans, and what each is part of."""
    records = trace.records()
    names = {one.span_id: one.name for one in records}
    assert len(names) == len(records) == trace.count
    return [(one.name, names.get(one.parent_id, "")) for one in records]


def traces_in(log: pathlib.Path) -> list[str]:
    """The traces that an audit log names."""
    lines = [json.loads(one) for one in log.read_text().splitlines()]
    return [one["trace"] for one in lines if "trace" in one]


def whole(tool: str, agent: str = "it") -> list[tuple[str, str]]:
    return [
        (f"tools/call {tool}", ""),
        (f"invoke_agent {agent}", f"tools/call {tool}"),
        (f"execute_tool {tool}", f"invoke_agent {agent}"),
    ]


def said(records: list[SpanRecord]) -> list[dict[str, Any]]:
    """What they say, less what is another each time."""
    own = ("flowcore.request.id", "flowcore.queue.wait", "gen_ai.tool.call.arguments")
    return [
        {k: v for k, v in one.attributes.items() if k not in (*own, "gen_ai.tool.call.result")}
        for one in records
    ]


async def test_what_was_noted_is_what_would_have_been_recorded() -> None:
    seen = []
    for content in (False, True):
        async with edge(content=content) as (flow, client):
            await called(client, "it.echo", {"text": "x"})
            assert len(noted(flow)) == (not content)
            (trace,) = flow.telemetry.recent
            assert (trace.spans is None) is not content
            assert flow.telemetry.recent == [trace]  # looked at twice, it is the same
            assert shape(trace) == whole("echo")
            records = trace.records()
            assert records == trace.records()
            times = [*(one.start for one in records), *(one.end for one in records[::-1])]
            assert sorted(times) == times
            assert records[1].attributes["flowcore.request.id"] == trace.request
            seen.append(said(records))
    assert seen[0] == seen[1]


async def test_the_last_eight_bytes_of_its_id_decide_as_of_any_trace() -> None:
    async with edge(sampling=0.5) as (flow, client):
        for _ in range(40):
            await called(client, "it.echo", {"text": "x"})
        traces = flow.telemetry.recent
        assert len({one.trace_id for one in traces}) == len(traces) == 40
        for one in traces:
            assert one.flags == (int(one.trace_id[16:], 16) < 1 << 63)
            assert len(one.trace_id) == 32
        status = flow.telemetry.status()["traces"]
        assert status["begun"] == 40
        assert status["kept"] == sum(one.flags for one in traces)
        assert 0 < status["kept"] < 40  # one of 10**12 such runs has none, or all


async def test_what_fails_is_recorded_with_what_was_noted() -> None:
    async with edge() as (flow, client):
        await called(client, "it.fail", {"how": "tool"})
        soon = {"io.flowcore/deadline": 0.05}
        await called(client, "it.wait", {"seconds": 60}, meta=soon)
        await called(client, "it.wait", {})
        tool, late, wrong = flow.telemetry.recent
        assert shape(tool) == whole("fail")
        assert [one.failed for one in tool.records()] == [True, True, False]
        assert shape(late) == whole("wait")
        errors = [one.attributes["error.type"] for one in late.records()]
        assert errors == ["DeadlineExceeded"] * 3
        assert shape(wrong) == whole("wait")[:2]
        assert flow.telemetry.status()["traces"] == {
            **flow.telemetry.status()["traces"],
            "begun": 3,
            "kept": 3,
        }


@pytest.mark.parametrize("sampling", [0.0, 1.0])
async def test_what_an_agent_asks_for_is_part_of_its_work(sampling: float) -> None:
    async with edge(sampling=sampling) as (flow, client):

        async def ask(text: str) -> None:
            await flow.call("it.echo", {"text": text})

        relaying.ask[:] = [ask]
        relaying.contexts.clear()
        await called(client, "relay.relay", {"text": "x"})
        (trace,) = flow.telemetry.recent
        assert shape(trace) == [
            *whole("relay", "relay"),
            ("invoke_agent it", "execute_tool relay"),
            ("execute_tool echo", "invoke_agent it"),
        ]
        work = trace.records()[2]
        told = [one["traceparent"] for one in relaying.contexts]
        assert told == [f"00-{trace.trace_id}-{work.span_id}-0{int(sampling)}"]


async def test_who_was_told_of_it_is_part_of_it_though_nothing_was_made() -> None:
    async with edge() as (flow, client):
        relaying.ask.clear()
        relaying.contexts.clear()
        await called(client, "relay.relay", {"text": "x"})
        assert len(noted(flow)) == 1
        (trace,) = flow.telemetry.recent
        told = [one["traceparent"] for one in relaying.contexts]
        assert told == [f"00-{trace.trace_id}-{trace.records()[-1].span_id}-00"]
        assert "tracestate" not in relaying.contexts[0]


async def test_the_audit_log_has_its_id(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "audit"
    more = {
        "guard": {"audit": {"type": "audit", "file": str(log)}},
        "requests": {"guards": ["audit"]},
    }
    async with edge(more) as (flow, client):
        await called(client, "it.echo", {"text": "x"})
        (trace,) = flow.telemetry.recent
        known = trace.trace_id
    assert traces_in(log) == [known]


async def test_one_that_comes_with_a_trace_or_says_how_it_is_to_be_done_is_not_noted() -> None:
    async with edge() as (flow, client):
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        await called(client, "it.echo", {"text": "x"}, meta={"traceparent": parent})
        key = {"io.flowcore/idempotency-key": "k"}
        await called(client, "it.echo", {"text": "x"}, meta=key)
        await called(client, "it.echo", {"text": "x"}, meta={"io.flowcore/affinity": "a"})
        assert [one.name for one in noted(flow)] == ["echo"]
        first, second, _ = flow.telemetry.recent
        assert (first.trace_id, first.parent) == (parent[3:35], parent[36:52])
        assert shape(first) == whole("echo")
        assert shape(second) == whole("echo")


async def test_those_that_are_forgotten_leave_nothing_behind() -> None:
    seen = []

    async def look(_: str) -> None:
        seen.append(current_span())

    async with edge(recent=0) as (flow, client):
        gc.collect()
        before = traces()
        gc.disable()
        try:
            relaying.ask[:] = [look]
            for _ in range(5):
                await called(client, "it.echo", {"text": "x"})
                await called(client, "it.fail", {"how": "tool"})
                await called(client, "it.wait", {})
                await called(client, "relay.relay", {"text": "x"})
            assert len(seen) == 5
            seen.clear()
            assert [one for one in traces() if one not in before] == []
        finally:
            gc.enable()
        kept = [*flow.requests.tracker.entries()]
        assert len(kept) == 20
        # what the garbage collector does not look at is in no circle
        told = [one for entry in kept for one in gc.get_referents(entry)]
        assert not [one for one in told if isinstance(one, (Trace, Envelope))]


async def test_a_flow_that_was_closed_is_gone() -> None:
    async with edge(sampling=0.5) as (flow, client):
        for _ in range(5):
            await called(client, "it.echo", {"text": "x"})
            await called(client, "it.fail", {"how": "tool"})
        assert len(noted(flow)) == 5
        kept = [weakref.ref(one) for one in (flow.telemetry, flow.requests.tracker)]
    del flow, client
    gc.collect()
    assert [one() for one in kept] == [None, None]


async def test_who_looks_while_it_waits_for_a_worker_has_it_recorded_from_then_on() -> None:
    one = {"it": {**AGENTS["it"], "pool": {"min": 1, "max": 1, "concurrency": 1}}}
    async with edge({"agent": one}) as (flow, client), trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def block() -> None:
            with first:
                await called(client, "it.wait", {"seconds": 600})

        nursery.start_soon(block)
        while not any(one.label is not None for one in noted(flow)):
            await trio.lowlevel.checkpoint()
        nursery.start_soon(called, client, "it.echo", {"text": "x"})
        while not (queued := [one for one in noted(flow) if one.label is None]):
            await trio.lowlevel.checkpoint()
        trace = queued[0].trace()
        first.cancel()
        while trace.open:
            await trio.lowlevel.checkpoint()
        assert shape(trace) == whole("echo")


def test_each_has_the_wall_clock_of_its_time() -> None:
    now, wall = 0.0, 1000.0
    tracer = lone_tracer(now=lambda: now, wall=lambda: wall + now)
    assert tracer.ahead(0.0) == 1000.0
    now, wall = 5.0, 4000.0  # it was set
    assert tracer.ahead(5.0) == 4000.0
    assert [tracer.ahead(when) for when in (0.5, 4.9, 5.5)] == [1000.0, 1000.0, 4000.0]
