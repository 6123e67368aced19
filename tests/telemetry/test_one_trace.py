"""One trace from a client's header through two nodes to an upstream MCP server, as a collector sees it."""

from __future__ import annotations

import itertools
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from flowcore import Flow, open_flow
from flowcore.http import open_client
from support.collector import Collector, attributes, collecting
from support.flows import available, config
from support.mcp_client import Raw as McpClient
from support.node import ROOT

UPSTREAM = f"{ROOT}/tests/support/upstreams/stdio_server.py"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@asynccontextmanager
async def two(folder: pathlib.Path, url: str) -> AsyncGenerator[tuple[Flow, Flow, McpClient]]:
    """Node alpha, that a client talks to, and beta, that has the upstream; both export."""
    near, far = config("alpha", folder, []), config("beta", folder, [])
    near["agent"] = {}
    far["agent"] = {
        "up": {
            "type": "mcp",
            "command": [sys.executable, UPSTREAM],
            "pool": {"min": 1, "max": 1},
        }
    }
    near["edge"] = {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}}
    for node in (near, far):
        node["telemetry"] = {"sampling": 0.0}
        node["exporter"] = {"to": {"type": "otlp", "endpoint": url, "delay": "10ms"}}
    async with open_flow(near) as alpha:
        far["swarm"]["seeds"] = [alpha.swarm.address]
        async with open_flow(far) as beta, open_client() as client:
            await beta.wait_settled()
            await available(alpha, "up")
            (url,) = alpha.endpoints["mcp"]
            yield alpha, beta, McpClient(url, client)


def of(collector: Collector, node: str, name: str) -> Any:
    """The span of a name at a node."""
    found = [
        span
        for resource, span in zip(collector.nodes, collector.spans, strict=True)
        if (resource, span.name) == (node, name)
    ]
    assert len(found) == 1, [one.name for one in collector.spans]
    return found[0]


async def test_every_piece_of_the_way_is_part_of_the_one_before(tmp_path: pathlib.Path) -> None:
    with collecting() as collector:
        async with two(tmp_path, collector.url) as (alpha, _, client):
            meta = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
            answer = await client.call("up.meta", meta=meta)
            received = answer.result["structuredContent"]["meta"]
            await collector.wait(6)
            with trio.fail_after(60):  # a busy node is not waited for, and asked again
                while (seen := await alpha.trace(TRACE))["missing"]:
                    pass
        edge = of(collector, "alpha", "tools/call meta")
        way = [
            edge,
            of(collector, "alpha", "invoke_agent up"),
            next(one for one in collector.spans if one.name.endswith("/submit") and one.kind == 3),
            next(one for one in collector.spans if one.name.endswith("/submit") and one.kind == 2),
            of(collector, "beta", "invoke_agent up"),
            of(collector, "beta", "tools/call meta"),
        ]
        assert len(collector.spans) == 6
        assert {one.trace_id.hex() for one in collector.spans} == {TRACE}
        assert edge.parent_span_id.hex() == PARENT
        for outer, inner in itertools.pairwise(way):
            assert inner.parent_span_id == outer.span_id
        assert received["traceparent"] == f"00-{TRACE}-{way[-1].span_id.hex()}-01"
        assert received["tracestate"] == "vendor=1"
        assert [one.kind for one in way] == [2, 1, 3, 2, 1, 3]
        assert all(one.trace_state == "vendor=1" for one in way)
        assert [bool(one.flags & 0x200) for one in way] == [True, False, False, True, False, False]
        said = attributes(way[0].attributes)
        assert said["mcp.method.name"] == "tools/call"
        assert said["gen_ai.tool.name"] == "meta"
        assert said["mcp.protocol.version"] == "2026-07-28"
        assert said["network.transport"] == "tcp"
        assert attributes(way[2].attributes)["server.address"] == "beta"
        assert attributes(way[3].attributes)["client.address"] == "alpha"
        assert attributes(way[-1].attributes)["network.transport"] == "pipe"
        # and a node shows all of it, whichever is asked
        assert {one["span_id"] for one in seen["spans"]} == {one.span_id.hex() for one in way}
        assert {one["node"] for one in seen["spans"]} == {"alpha", "beta"}
        assert seen["missing"] == []


async def test_headers_are_the_parent_where_meta_says_nothing_and_a_link_beside_it(
    tmp_path: pathlib.Path,
) -> None:
    with collecting() as collector:
        async with two(tmp_path, collector.url) as (_, _, client):
            body, headers = client.modern("tools/call", {"name": "up.echo", "arguments": {}})
            await client.post(body, {**headers, "traceparent": TRACEPARENT})
            await collector.wait(6)
            first = of(collector, "alpha", "tools/call echo")
            other = "a" * 32
            meta = {"traceparent": f"00-{other}-{'b' * 16}-01"}
            body, headers = client.modern(
                "tools/call", {"name": "up.echo", "arguments": {}}, meta=meta
            )
            await client.post(body, {**headers, "traceparent": TRACEPARENT})
            await collector.wait(12)
        assert first.parent_span_id.hex() == PARENT
        second = next(one for one in collector.spans if one.parent_span_id.hex() == "b" * 16)
        assert second.trace_id.hex() == other
        assert [(one.trace_id.hex(), one.span_id.hex()) for one in second.links] == [
            (TRACE, PARENT)
        ]


async def test_what_fails_far_away_is_kept_on_the_whole_way_though_nothing_was_sampled(
    tmp_path: pathlib.Path,
) -> None:
    with collecting() as collector:
        async with two(tmp_path, collector.url) as (alpha, beta, client):
            await client.call("up.echo", {"text": "fine"})
            answer = await client.call("up.fail")
            assert answer.error["code"]
            await collector.wait(6)
            assert {flow.telemetry.status()["traces"]["kept"] for flow in (alpha, beta)} == {1}
        assert {one.status.code for one in collector.spans if "up" in one.name} == {2}
        assert len({one.trace_id for one in collector.spans}) == 1
        told = attributes(of(collector, "alpha", "tools/call fail").attributes)
        assert told["error.type"] == "UpstreamError"
        assert told["rpc.response.status_code"] == str(answer.error["code"])
        assert not any("echo" in one.name for one in collector.spans)


async def test_bad_headers_are_counted_and_no_error() -> None:
    bad = [
        "",
        "garbage",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        TRACEPARENT.upper(),
        TRACEPARENT + "-more",
        "ff" + TRACEPARENT[2:],
        "é" * 10,
        "x" * 7000,
    ]
    async with open_flow({"edge": {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}}}) as flow:
        (url,) = flow.endpoints["mcp"]
        async with open_client() as http:
            client = McpClient(url, http)
            for one in bad:
                answer = await client.call("flow.agents", meta={"traceparent": one})
                assert not answer.result.get("isError")
                body, headers = client.modern(
                    "tools/call", {"name": "flow.agents", "arguments": {}}
                )
                if one:
                    answer = await client.post(body, {**headers, "traceparent": one})
                    assert not answer.result.get("isError")
            for strange in (1, None, {"a": 1}, [TRACEPARENT]):
                answer = await client.call("flow.agents", meta={"traceparent": strange})
                assert not answer.result.get("isError")
        told = flow.telemetry.status()["traces"]
        assert told["malformed"] == 2 * len(bad) - 1 + 4
        assert told["begun"] == 2 * len(bad) - 1 + 4
        assert all(not one.parent for one in flow.telemetry.latest())
