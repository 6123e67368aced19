"""The agent every node has: `flow.agents` and `flow.status`, so that an MCP client can look around."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from flowcore.agents import Catalog, Tool
from flowcore.assembly import BUILTIN
from flowcore.envelope import Envelope, Raw, Reply
from flowcore.errors import UnknownTarget
from flowcore.flow.node import Flow
from flowcore.interfaces import AgentPort, PoolDefaults, Worker

_SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def _tool(name: str, title: str, description: str) -> Tool:
    definition: dict[str, Any] = {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": _SCHEMA,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
    return Tool(
        name=name,
        definition=Raw(msgspec.json.encode(definition)),
        input_schema=Raw(msgspec.json.encode(_SCHEMA)),
        read_only=True,
        idempotent=True,
    )


CATALOG = Catalog(
    tools=(
        _tool(
            "agents",
            "Agents",
            "Every agent of this node: its state, what it offers, its pool and its figures.",
        ),
        _tool(
            "status",
            "Status",
            "What is true of this node now: components, endpoints, requests, agents in short.",
        ),
    )
)


class NodeWorker:
    """Answers from the flow's own status."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    async def call(self, envelope: Envelope) -> Reply:
        status = self._flow.status()
        if envelope.name == "agents":
            content: dict[str, Any] = {"agents": status["agents"]}
        elif envelope.name == "status":
            status["agents"] = {one["name"]: one["state"] for one in status["agents"]}
            content = status
        else:
            raise UnknownTarget(f"agent {BUILTIN!r} has no {envelope.name!r}")
        text = msgspec.json.encode(content).decode()
        result = {"content": [{"type": "text", "text": text}], "structuredContent": content}
        return Reply(Raw(msgspec.json.encode(result)))

    async def ping(self) -> None:
        return


class NodeSource:
    """Opens workers that look at the flow."""

    pool_defaults = PoolDefaults(min=1, max=1, concurrency=1000)
    heartbeat = False

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        port.announce(CATALOG)
        yield NodeWorker(self._flow)


@asynccontextmanager
async def open_builtin(flow: Flow) -> AsyncGenerator[NodeSource]:
    """The source of the built-in agent."""
    yield NodeSource(flow)
