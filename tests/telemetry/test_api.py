"""What the api edge tells of traces, events and log levels, to whom it may."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import State
from flowcore.http import Client, SseDecoder, open_client
from support import doorkeeper
from support.node import ROOT

AGENT = {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}


@asynccontextmanager
async def serving(**more: Any) -> AsyncGenerator[tuple[Flow, Client, str]]:
    config = {
        "agent": {"it": AGENT},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
        **more,
    }
    async with open_flow(config) as flow, open_client() as client:
        await flow.wait_settled()
        (url,) = flow.endpoints["api"]
        yield flow, client, url


@pytest.fixture
def levels() -> Iterator[None]:
    """Levels are the process's: put them back."""
    loggers = [logging.getLogger(), logging.getLogger("flowcore.telemetry")]
    before = [one.level for one in loggers]
    yield
    for one, level in zip(loggers, before, strict=True):
        one.setLevel(level)


async def called(client: Client, url: str, tool: str, **arguments: Any) -> dict[str, Any]:
    body = json.dumps({"tool": tool, "arguments": arguments}).encode()
    headers = [(b"content-type", b"application/json")]
    answer = await client.request("POST", f"{url}/call", headers=headers, body=body)
    told: dict[str, Any] = json.loads(answer.body)
    return told


async def test_a_call_tells_its_trace_and_that_is_found_by_both_ids() -> None:
    async with serving() as (_, client, url):
        told = await called(client, url, "it.echo", text="x")
        for id_ in (told["trace"], told["id"]):
            found = json.loads((await client.request("GET", f"{url}/traces/{id_}")).body)
            assert found["trace_id"] == told["trace"]
            assert found["request"] == told["id"]
            names = [one["name"] for one in found["spans"]]
            assert names == ["POST /call", "invoke_agent it", "execute_tool echo"]
            assert [one["parent_id"] for one in found["spans"]][1:] == [
                one["span_id"] for one in found["spans"]
            ][:-1]
        listed = json.loads((await client.request("GET", f"{url}/traces")).body)["traces"]
        assert [one["trace_id"] for one in listed] == [told["trace"]]
        failed = json.loads((await client.request("GET", f"{url}/traces?failed=1")).body)
        assert failed == {"traces": []}
        assert (await client.request("GET", f"{url}/traces/nothing")).status == 404


async def test_only_so_many_traces_are_remembered() -> None:
    async with serving(telemetry={"recent": 3}) as (flow, client, url):
        told = [await called(client, url, "it.echo", text="x") for _ in range(5)]
        assert len(flow.telemetry.recent) == 3
        listed = json.loads((await client.request("GET", f"{url}/traces")).body)["traces"]
        assert [one["request"] for one in listed] == [one["id"] for one in told[:1:-1]]


async def test_large_traces_take_the_place_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from flowcore.telemetry import telemetry

    monkeypatch.setattr(telemetry, "MOST_REMEMBERED", 7)
    async with serving(telemetry={"content": True}) as (flow, client, url):
        told = [await called(client, url, "it.echo", text="x") for _ in range(5)]
        assert [one.request for one in flow.telemetry.recent] == [x["id"] for x in told[-2:]]
    async with serving(telemetry={"recent": 0}) as (flow, client, url):
        await called(client, url, "it.echo", text="x")
        assert not flow.telemetry.recent


async def test_where_nothing_is_traced_nothing_is_told() -> None:
    async with serving(telemetry={"enabled": False}) as (flow, client, url):
        assert "trace" not in await called(client, url, "it.echo", text="x")
        assert json.loads((await client.request("GET", f"{url}/traces")).body) == {"traces": []}
        assert flow.telemetry.status()["traces"] is None


async def test_events_come_as_they_happen() -> None:
    async with serving() as (flow, client, url):
        async with client.stream("GET", f"{url}/events") as stream:
            decoder = SseDecoder()
            seen: list[Any] = []
            await stream.receive()  # it has begun
            await called(client, url, "it.echo", text="x")  # its activity is not told
            flow.agent("it").pause()
            with trio.fail_after(20):
                while not seen:
                    seen += [json.loads(one.data) for one in decoder.feed(await stream.receive())]
        assert seen[0] == {
            "event": "state",
            "agent": "it",
            "old": "idle",
            "new": "paused",
            "reason": "paused by an operator",
        }
        assert flow.agent("it").state is State.PAUSED


async def test_too_many_event_streams_are_refused_and_others_go_on() -> None:
    from flow_edges.api import telemetry

    async with serving() as (_, client, url), trio.open_nursery() as nursery:
        opened = trio.Event()
        count = 0

        async def listen() -> None:
            nonlocal count
            async with client.stream("GET", f"{url}/events") as stream:
                await stream.receive()
                count += 1
                if count == telemetry.STREAMS:
                    opened.set()
                await trio.sleep_forever()

        for _ in range(telemetry.STREAMS):
            nursery.start_soon(listen)
        with trio.fail_after(30):
            await opened.wait()
        answer = await client.request("GET", f"{url}/events")
        assert answer.status in (429, 503)
        assert b"event streams" in answer.body
        assert (await called(client, url, "it.echo", text="x"))["result"]
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("levels")
async def test_levels_change_while_it_runs() -> None:
    async with serving() as (_, client, url):

        async def said(logger: str, level: str | None) -> tuple[int, Any]:
            body = json.dumps({"logger": logger, "level": level}).encode()
            answer = await client.request("POST", f"{url}/logs/level", body=body)
            return answer.status, json.loads(answer.body)

        status, told = await said("flowcore.telemetry", "debug")
        assert (status, told["levels"]["flowcore.telemetry"]) == (200, "debug")
        assert logging.getLogger("flowcore.telemetry.exporting").isEnabledFor(logging.DEBUG)
        status, told = await said("flowcore.telemetry", None)
        assert "flowcore.telemetry" not in told["levels"]
        for logger, level in (("nonsense.x", "debug"), ("flowcore", "loud"), ("", None)):
            status, told = await said(logger, level)
            assert status == 400, (logger, level)
            assert "error" in told
        answer = await client.request("POST", f"{url}/logs/level", body=b"[1]")
        assert answer.status == 400
        assert (await client.request("POST", f"{url}/logs/other", body=b"{}")).status == 404


async def test_guards_are_asked() -> None:
    config = {
        "plugins": {"files": [doorkeeper.__file__]},
        "auth": {"badges": {"type": "badge"}},
        "guard": {"shelf": {"type": "shelf", "closed": ["traces", "events", "logs", "logs.level"]}},
        "edge": {
            "api": {
                "type": "api",
                "bind": "127.0.0.1:0",
                "auth": ["badges"],
                "guards": ["shelf"],
            }
        },
    }
    async with serving(**config) as (_, client, url):
        badge = [(b"authorization", f"Bearer ann:@{url}/".encode())]
        asked = [("GET", "/traces"), ("GET", "/traces/x"), ("GET", "/events"), ("GET", "/logs")]
        for method, path in [*asked, ("POST", "/logs/level")]:
            answer = await client.request(method, url + path, headers=badge, body=b"")
            assert answer.status == 403, (path, answer.body)
            answer = await client.request(method, url + path, body=b"")
            assert answer.status == 401, path
