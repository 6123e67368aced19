"""An ordinary request is noted, not recorded; looked at, or failing late, it has spans like any other."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
from msgspec import Raw

from flowcore import Flow, open_flow
from flowcore.envelope import Envelope, Priority
from flowcore.errors import DeadlineExceeded, SchemaViolation
from flowcore.telemetry import SpanKind, Trace
from support import relaying
from support.node import ROOT

AGENT = {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}


def config(**telemetry: Any) -> dict[str, Any]:
    return {"agent": {"it": AGENT}, "telemetry": {"sampling": 0.0, **telemetry}}


def asked(name: str = "echo", arguments: bytes = b'{"text":"x"}', **more: Any) -> Envelope:
    return Envelope(
        agent="it",
        name=name,
        params={"arguments": Raw(arguments)},
        deadline=trio.current_time() + 60,
        **more,
    )


def shape(trace: Trace) -> list[tuple[str, str]]:
    """Its spans, and what each is part of."""
    records = trace.records()
    names = {one.span_id: one.name for one in records}
    assert len(names) == len(records) == trace.count
    return [(one.name, names.get(one.parent_id, "")) for one in records]


WHOLE = [("invoke_agent it", ""), ("execute_tool echo", "invoke_agent it")]


async def done(flow: Flow, envelope: Envelope) -> Trace:
    await flow.submit(envelope)
    return flow.telemetry.recent[-1]


async def test_what_is_made_of_its_facts_is_what_would_have_been_recorded() -> None:
    seen = []
    for sampling, content in ((0.0, False), (1.0, False), (0.0, True)):
        async with open_flow(config(sampling=sampling, content=content)) as flow:
            await flow.wait_settled()
            trace = await done(flow, asked(edge="e"))
            assert (trace.spans is None) is not content
            assert shape(trace) == WHOLE
            records = trace.records()
            assert records == trace.records()  # looked at twice
            times = [time for one in records for time in (one.start, one.end)]
            assert times[0] <= times[2] <= times[3] <= times[1]
            said = [dict(one.attributes) for one in records]
            for one in said:
                one.pop("flowcore.queue.wait", None)
                one.pop("flowcore.request.id", None)
                for name in ("arguments", "result"):
                    assert (one.pop(f"gen_ai.tool.call.{name}", "") != "") is (
                        content and "flowcore.edge" in one
                    )
            seen.append(said)
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0]["flowcore.edge"] == "e"


@pytest.mark.parametrize(
    "more",
    [{"priority": Priority.HIGH}, {"idempotency_key": "k"}],
    ids=["priority", "key"],
)
async def test_what_says_more_is_recorded(more: dict[str, Any]) -> None:
    async with open_flow(config()) as flow:
        await flow.wait_settled()
        trace = await done(flow, asked(**more))
        assert trace.spans is not None
        assert shape(trace) == WHOLE
        said = trace.records()[0].attributes
        assert said.get("flowcore.priority") == ("high" if "priority" in more else "normal")
        assert said.get("flowcore.idempotent", False) is ("idempotency_key" in more)


async def test_what_fails_has_spans_with_their_errors() -> None:
    async with open_flow(config()) as flow:
        await flow.wait_settled()
        await flow.submit(asked("fail", b'{"how":"tool"}'))
        trace = flow.telemetry.recent[-1]
        assert trace.any_failed
        assert shape(trace) == [("invoke_agent it", ""), ("execute_tool fail", "invoke_agent it")]
        request, work = trace.records()
        assert (request.failed, work.failed) == (True, False)
        assert request.attributes["error.type"] == "tool_error"
        late = asked("wait", b'{"seconds":60}')
        late.deadline = trio.current_time() + 0.01
        with pytest.raises(DeadlineExceeded):
            await flow.submit(late)
        trace = flow.telemetry.recent[-1]
        assert shape(trace) == [("invoke_agent it", ""), ("execute_tool wait", "invoke_agent it")]
        assert [one.attributes["error.type"] for one in trace.records()] == ["DeadlineExceeded"] * 2
        with pytest.raises(SchemaViolation):
            await flow.submit(asked("wait", b"{}"))
        trace = flow.telemetry.recent[-1]
        assert shape(trace) == [("invoke_agent it", "")]
        assert trace.any_failed


async def test_a_second_request_of_a_trace_makes_spans_of_the_first() -> None:
    async with open_flow(config()) as flow:
        await flow.wait_settled()
        tracer = flow.telemetry.tracer
        first = tracer.begin("edge", SpanKind.SERVER, trio.current_time())
        for _ in range(2):
            await flow.submit(asked(span=first))
        assert first.context.trace_id == first.trace_id != first.id == first.context.span_id
        first.finish(trio.current_time())
        assert shape(first) == [
            ("edge", ""),
            ("invoke_agent it", "edge"),
            ("execute_tool echo", "invoke_agent it"),
            ("invoke_agent it", "edge"),
            ("execute_tool echo", "invoke_agent it"),
        ]


@pytest.mark.parametrize("edge", [False, True])
async def test_what_an_agent_asks_for_meanwhile_is_part_of_its_work(edge: bool) -> None:
    more = {"relay": {"type": "python", "target": "support.relaying:relay"}}
    async with open_flow({**config(), "agent": {"it": AGENT, **more}}) as flow:
        await flow.wait_settled()
        tracer = flow.telemetry.tracer
        first = tracer.begin("edge", SpanKind.SERVER, trio.current_time()) if edge else None

        async def ask(text: str) -> None:
            await flow.call("it.echo", {"text": text})

        relaying.ask[:] = [ask, ask]
        relaying.contexts.clear()
        envelope = asked("relay", span=first)
        envelope.agent = "relay"
        await flow.submit(envelope)
        if first is not None:
            first.finish(trio.current_time())
        trace = flow.telemetry.recent[-1]
        inner = [
            ("invoke_agent it", "execute_tool relay"),
            ("execute_tool echo", "invoke_agent it"),
        ]
        assert shape(trace) == [
            *([("edge", "")] if edge else []),
            ("invoke_agent relay", "edge" if edge else ""),
            ("execute_tool relay", "invoke_agent relay"),
            *inner,
            *inner,
        ]
        work = next(one for one in trace.records() if one.name == "execute_tool relay")
        told = [one["traceparent"] for one in relaying.contexts]
        assert told == [f"00-{trace.trace_id}-{work.span_id}-00"]


async def test_whoever_is_told_of_ordinary_work_is_part_of_it() -> None:
    more = {"relay": {"type": "python", "target": "support.relaying:relay"}}
    async with open_flow({**config(), "agent": more}) as flow:
        await flow.wait_settled()
        relaying.ask.clear()
        relaying.contexts.clear()
        await flow.call("relay.relay", {"text": "x"})
        trace = flow.telemetry.recent[-1]
        assert trace.spans is None
        work = trace.records()[-1]
        told = [one["traceparent"] for one in relaying.contexts]
        assert told == [f"00-{trace.trace_id}-{work.span_id}-00"]


async def test_forgotten_traces_leave_nothing_to_the_garbage_collector() -> None:
    async with open_flow(config(recent=0)) as flow:
        await flow.wait_settled()
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                await flow.submit(asked())
                await flow.submit(asked(priority=Priority.HIGH))
            assert not [one for one in gc.get_objects() if isinstance(one, Trace)]
        finally:
            gc.enable()
