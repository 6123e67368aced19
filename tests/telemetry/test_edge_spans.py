"""Requests that an MCP edge answers itself are spans, too, of the trace that the client says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from flowcore import Flow, open_flow
from flowcore.http import open_client
from support.mcp_client import Raw as McpClient

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@asynccontextmanager
async def edge(**telemetry: Any) -> AsyncGenerator[tuple[Flow, McpClient]]:
    edges = {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}}
    async with open_flow({"telemetry": {"sampling": 1.0, **telemetry}, "edge": edges}) as flow:
        async with open_client() as http:
            yield flow, McpClient(flow.endpoints["mcp"][0], http)


def ended(flow: Flow) -> list[Any]:
    """The first span of each trace that ended, oldest first, as exporters are given it."""
    return [one.records()[0] for one in flow.telemetry.recent]


async def test_lists_and_discovery_are_server_spans_of_the_clients_trace() -> None:
    async with edge() as (flow, client):
        for method in ("server/discover", "tools/list", "resources/list", "prompts/list"):
            body, headers = client.modern(method, {}, meta={"traceparent": TRACEPARENT})
            assert (await client.post(body, headers)).result
        spans = ended(flow)
        assert [one.name for one in spans] == [
            "server/discover",
            "tools/list",
            "resources/list",
            "prompts/list",
        ]
        for one in spans:
            assert (one.kind, one.trace_id, one.parent_id) == (2, TRACE, PARENT)
            assert one.attributes["mcp.method.name"] == one.name
            assert one.attributes["mcp.protocol.version"] == "2026-07-28"
            assert one.attributes["network.transport"] == "tcp"
            assert one.attributes["flowcore.edge"] == "mcp"
            assert not one.failed
        assert len(flow.telemetry.spans(TRACE)) == 4
        body, headers = client.modern("tools/list", {})
        await client.post(body, {**headers, "traceparent": TRACEPARENT})
        assert (ended(flow)[-1].trace_id, ended(flow)[-1].parent_id) == (TRACE, PARENT)


async def test_those_that_shake_hands_too_and_what_fails_is_kept_though_not_sampled() -> None:
    async with edge(sampling=0.0) as (flow, client):
        await client.initialize()
        await client.ask_old("ping")
        await client.ask_old("tools/list", {"cursor": "none of ours"})
        first, ping, wrong = ended(flow)
        assert [one.name for one in (first, ping, wrong)] == ["initialize", "ping", "tools/list"]
        assert (first.failed, ping.failed) == (False, False)
        assert wrong.failed
        assert wrong.attributes["error.type"] == "InvalidArguments"
        assert wrong.attributes["rpc.response.status_code"] == "-32602"
        assert wrong.attributes["mcp.protocol.version"] == "2025-11-25"
        assert flow.telemetry.status()["traces"]["kept"] == 1
        assert first.attributes["mcp.method.name"] == "initialize"  # said once somebody looks


async def test_where_nothing_is_recorded_all_is_answered() -> None:
    async with edge(enabled=False) as (flow, client):
        body, headers = client.modern("tools/list", {})
        assert (await client.post(body, headers)).result["tools"]
        assert (await client.ask("tools/call", {"name": "nobodys"})).error
        assert flow.telemetry.status()["traces"] is None
        assert not flow.telemetry.recent


async def test_a_completion_is_part_of_the_edges_span() -> None:
    async with edge() as (flow, client):
        asked = {"ref": {"type": "ref/prompt", "name": "nobodys"}, "argument": {"name": "x"}}
        assert (await client.ask("completion/complete", asked)).error
        (one,) = ended(flow)
        assert (one.name, one.failed) == ("completion/complete", True)
