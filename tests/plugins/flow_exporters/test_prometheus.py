"""The path of metrics at the api edge: who may have it, in which form; and what probes ask beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.config import ConfigError
from flowcore.http import Client, ClientResponse, open_client
from support import doorkeeper
from support.node import ROOT

AGENTS = f"{ROOT}/tests/support/agents.py"


@asynccontextmanager
async def fetched(
    *, edge: dict[str, Any] | None = None, **config: Any
) -> AsyncGenerator[tuple[Flow, Fetch]]:
    """A node with the exporter, and who asks its api."""
    made: dict[str, Any] = {
        "plugins": {"files": [doorkeeper.__file__]},
        "agent": {"tools": {"type": "python", "target": AGENTS}},
        "exporter": {"scraped": {"type": "prometheus"}},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0", **(edge or {})}},
        **config,
    }
    async with open_flow(made) as flow, open_client() as client:
        await flow.wait_settled()
        with trio.fail_after(60):
            yield flow, Fetch(flow.endpoints["api"][0], client)


class Fetch:
    def __init__(self, url: str, client: Client) -> None:
        self.url = url
        self._client = client

    async def __call__(self, path: str, method: str = "GET", **headers: str) -> ClientResponse:
        told = [(name.encode(), value.encode()) for name, value in headers.items()]
        return await self._client.request(method, self.url + path, headers=told)


async def test_metrics_are_at_their_path_and_at_no_other() -> None:
    async with fetched() as (_, fetch):
        answer = await fetch("/metrics")
        assert answer.status == 200
        assert answer.headers[b"content-type"] == b"text/plain; version=0.0.4; charset=utf-8"
        assert b"\nflowcore_node_ready 1\n" in answer.body
        assert (await fetch("/metrics", "HEAD")).status == 200
        for path in ("/metrics/", "/metrics/x", "//metrics", "/Metrics", "/metric"):
            assert (await fetch(path)).status == 404, path
        for method in ("POST", "DELETE", "PUT"):
            assert (await fetch("/metrics", method)).status == 405
        assert (await fetch("/metrics", origin="https://evil.example")).status == 403


async def test_a_path_of_the_edge_is_refused() -> None:
    for path in ("/status", "/traces/mine", "/agents/one/two"):
        with pytest.raises(ConfigError, match=rf"page {path} is what edge\.api has itself"):
            async with fetched(exporter={"scraped": {"type": "prometheus", "path": path}}):
                pass
    exporter = {"scraped": {"type": "prometheus", "path": "/of/mine"}}
    async with fetched(exporter=exporter) as (_, fetch):
        assert (await fetch("/of/mine")).body.startswith(b"# HELP")
        assert (await fetch("/metrics")).status == 404


@pytest.mark.parametrize("path", ["", "metrics", "/", "/a b", "/a?b", "/ä", "//a"])
async def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"exporter\.scraped\.path"):
        async with fetched(exporter={"scraped": {"type": "prometheus", "path": path}}):
            pass


async def test_who_may_not_come_in_gets_no_metrics() -> None:
    edge = {"auth": ["badges"], "guards": ["shelf"]}
    for closed, status in (((), 200), (("metrics",), 403)):
        async with fetched(
            edge=edge,
            auth={"badges": {"type": "badge"}},
            guard={"shelf": {"type": "shelf", "closed": list(closed)}},
        ) as (_, fetch):
            assert (await fetch("/metrics")).status == 401
            assert (await fetch("/metrics", authorization="Bearer nobody")).status == 401
            answer = await fetch("/metrics", authorization=f"Bearer ann:@{fetch.url}/")
            assert answer.status == status
            assert (b"flowcore_" in answer.body) is (status == 200)


async def test_probes_ask_for_one_component() -> None:
    broken = {"type": "python", "target": "support.nothing:there"}
    tools = {"type": "python", "target": AGENTS}
    async with fetched(agent={"tools": tools, "broken": broken}) as (flow, fetch):
        for path, status in (
            ("/livez/agent.tools", 200),
            ("/readyz/agent.tools", 200),
            ("/livez/edge.api", 200),
            ("/livez/agent.broken", 503),
            ("/readyz/agent.broken", 503),
            ("/livez/agent.none", 404),
            ("/readyz/", 404),
            ("/livez/agent/tools", 404),
        ):
            answer = await fetch(path)
            assert answer.status == status, (path, answer.body)
        told = msgspec.json.decode((await fetch("/readyz/agent.broken")).body)
        assert (told["component"], told["status"], told["live"]) == (
            "agent.broken",
            "failed",
            False,
        )
        assert told["reason"]
        flow.agent("tools").pause()
        told = msgspec.json.decode((await fetch("/readyz/agent.tools")).body)
        assert (told["ready"], told["status"]) == (True, "degraded")
        ready = await fetch("/readyz")
        assert ready.status == 200  # agents answer for themselves
        unwell = {one["component"] for one in msgspec.json.decode(ready.body)["unwell"]}
        assert unwell == {"agent.broken", "agent.tools"}
        flow.draining.set()
        assert (await fetch("/readyz")).status == 503
        assert (await fetch("/readyz/edge.api")).status == 503
        assert (await fetch("/livez/edge.api")).status == 200
