"""Whom a task works for: what it starts keeps to that, whatever the task does next."""

from __future__ import annotations

import contextvars
import threading

import pytest
import trio
import trio.testing

from flowcore import open_flow
from flowcore.http import open_client
from flowcore.native import Threads
from flowcore.telemetry import (
    Span,
    SpanKind,
    Trace,
    Tracer,
    current_span,
    enter_span,
    keep_places,
)
from support import relaying
from support.mcp_client import Raw as McpClient
from support.tracing import lone_tracer


@pytest.fixture
def tracer() -> Tracer:
    return lone_tracer()


def begun(tracer: Tracer, name: str) -> Trace:
    return tracer.begin(name, SpanKind.SERVER, 0.0)


async def test_a_task_works_for_one_after_the_other_and_for_what_was_before_when_that_ends(
    tracer: Tracer,
) -> None:
    first, second = begun(tracer, "first"), begun(tracer, "second")
    assert current_span() is None
    assert enter_span(first) is None
    assert current_span() is first
    assert enter_span(second) is first
    assert current_span() is second
    second.finish(1.0)
    assert current_span() is None
    assert enter_span(first) is second
    assert current_span() is first
    first.finish(1.0)
    assert current_span() is None
    assert enter_span(None) is first


@pytest.mark.parametrize("system", [False, True])
async def test_what_a_task_starts_keeps_to_what_it_was_started_for(
    tracer: Tracer, system: bool
) -> None:
    keep_places()
    keep_places()  # again
    first, second = begun(tracer, "first"), begun(tracer, "second")
    seen: list[Span | None] = []
    turn, over = trio.Event(), trio.Event()

    async def child() -> None:
        seen.append(current_span())
        await turn.wait()
        seen.append(current_span())
        enter_span(None)
        over.set()

    async with trio.open_nursery() as nursery:
        enter_span(first)
        if system:
            trio.lowlevel.spawn_system_task(child, context=contextvars.copy_context())
        else:
            nursery.start_soon(child)
        enter_span(second)  # before it has begun, even
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [first]
        turn.set()
        await over.wait()
        assert seen == [first, first]
        assert current_span() is second


async def test_a_function_that_is_left_behind_in_its_thread_keeps_to_its_request(
    tracer: Tracer,
) -> None:
    first, second = begun(tracer, "first"), begun(tracer, "second")
    begins, ends, over = threading.Event(), threading.Event(), trio.Event()
    seen: list[Span | None] = []

    def function() -> None:
        seen.append(current_span())
        begins.set()
        ends.wait(10)
        seen.append(current_span())

    enter_span(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Threads(1).run, function, lambda: over.set)
        await trio.to_thread.run_sync(begins.wait, 10)
        nursery.cancel_scope.cancel()
    enter_span(second)
    ends.set()
    await over.wait()
    assert seen == [first, first]


async def test_what_an_agent_started_for_one_request_is_no_part_of_the_next_on_the_connection() -> (
    None
):
    config = {
        "agent": {"relay": {"type": "python", "target": "support.relaying:relay"}},
        "edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}},
    }
    seen: list[Span | None] = []
    turn, tasks = trio.Event(), set()

    async def child() -> None:
        await turn.wait()
        seen.append(current_span())

    async with open_flow(config) as flow, open_client() as http, trio.open_nursery() as nursery:
        await flow.wait_settled()
        client = McpClient(flow.endpoints["mcp"][0], http)

        async def start(_: str) -> None:
            tasks.add(trio.lowlevel.current_task())
            nursery.start_soon(child)

        async def look(_: str) -> None:
            tasks.add(trio.lowlevel.current_task())
            turn.set()
            await trio.testing.wait_all_tasks_blocked()
            seen.append(current_span())

        for ask in (start, look):
            relaying.ask[:] = [ask]
            await client.call("relay.relay", {"text": "x"})
        relaying.ask.clear()
        assert len(tasks) == 1  # one connection's
        later, own = seen
        assert later is None
        assert own is not None
        assert [one.trace_id for one in flow.telemetry.recent][1] == own.trace.trace_id
