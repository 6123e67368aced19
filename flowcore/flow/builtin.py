"""The agents that a node has of its own: `flow`, to look around, find and ask; and `memory`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec

from flowcore.agents import Catalog, Tool
from flowcore.envelope import Envelope, Raw, Reply
from flowcore.errors import UnknownTarget
from flowcore.flow.node import Flow
from flowcore.interfaces import AgentPort, PoolDefaults, Worker
from flowcore.routing import MemorySettings

_PASSED_ON = 4 << 20
"""Bytes of the arguments of `flow.ask`, at least: those of the tool that it calls are among them."""
_ESCAPED = 6
"""Bytes of JSON that one byte of a text may take: `\\u0001`."""
_BESIDE = 64 << 10
"""Bytes for all else in arguments: keys, namespaces, filters."""
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


TOOLS = (
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


def arguments_taken(settings: MemorySettings) -> int:
    """Bytes of arguments that may hold a text and a value that are not too large: more is not looked at.

    Sixteen megabytes take tens of milliseconds to read, and whoever reads them holds the event loop.
    """
    return _ESCAPED * (settings.text + settings.value) + _BESIDE


Answer = Callable[[Envelope], Awaitable[Reply]]


class OwnWorker:
    """Answers what it has an answer for by itself; all else is a native object's."""

    def __init__(self, answers: Mapping[str, Answer], native: Worker | None) -> None:
        self._answers = answers
        self._native = native

    async def call(self, envelope: Envelope) -> Reply:
        answer = self._answers.get(envelope.name)
        if answer is not None:
            return await answer(envelope)
        if self._native is None:
            raise UnknownTarget(f"agent {envelope.agent!r} has no {envelope.name!r}")
        return await self._native.call(envelope)

    async def ping(self) -> None:
        return


class OwnSource:
    """Makes the one worker of an agent of the node's own."""

    pool_defaults = PoolDefaults(min=1, max=1, concurrency=1000)
    heartbeat = False

    def __init__(
        self,
        answers: Mapping[str, Answer],
        tools: tuple[Tool, ...],
        native: object = None,
        most: Callable[[str], int | None] = lambda name: None,
    ) -> None:
        """`most` says how many bytes of arguments a tool takes; None: as many as there are."""
        self._answers = answers
        self._tools = tools
        self._native = native
        self._most = most

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        tools, worker = self._tools, None
        if self._native is not None:
            from flowcore.native import (
                NativeAgent,
                NativeWorker,
                Offering,
                Offers,
                Seal,
                Threads,
                offering_of,
            )

            own = offering_of(type(self._native), where=port.agent).bound_to(self._native)
            offers = Offers(own, Offering(), port.agent)
            agent = NativeAgent(port, offers)
            worker = NativeWorker(agent, offers, Seal(None), Threads(1), _left_behind)
            tools += offers.catalog().tools
        bound = tuple(attrs.evolve(one, most=self._most(one.name)) for one in tools)
        port.announce(Catalog(tools=bound))
        yield OwnWorker(self._answers, worker)


def _left_behind(what: str) -> Callable[[], None]:
    raise AssertionError(f"no tool of the node's own runs in a thread: {what}")


def _answers(flow: Flow) -> dict[str, Answer]:
    async def agents(envelope: Envelope) -> Reply:
        del envelope
        return _reply({"agents": flow.status()["agents"]})

    async def status(envelope: Envelope) -> Reply:
        del envelope
        now = flow.status()
        now["agents"] = {one["name"]: one["state"] for one in now["agents"]}
        return _reply(now)

    return {"agents": agents, "status": status}


def _reply(content: dict[str, Any]) -> Reply:
    text = msgspec.json.encode(content).decode()
    result = {"content": [{"type": "text", "text": text}], "structuredContent": content}
    return Reply(Raw(msgspec.json.encode(result)))


@asynccontextmanager
async def open_builtin(flow: Flow) -> AsyncGenerator[OwnSource]:
    """The source of the agent `flow`."""
    answers = _answers(flow)
    if flow.config.router is None:
        from flowcore.flow.broadcast_tools import BroadcastTools

        yield OwnSource(answers, TOOLS, BroadcastTools(flow))
        return
    from flowcore.flow.routing_tools import RoutingTools

    routing = RoutingTools(flow)
    most = arguments_taken(flow.config.router.memory)
    passed_on = {"call_tool": None, "ask": max(most, _PASSED_ON)}
    yield OwnSource(
        answers | {"call_tool": routing.call_through},
        TOOLS,
        routing,
        lambda name: passed_on.get(name, most),
    )


@asynccontextmanager
async def open_memory(flow: Flow) -> AsyncGenerator[OwnSource]:
    """The source of the agent `memory`, which a router has."""
    from flowcore.flow.memory_tools import MemoryTools

    settings = flow.config.router
    assert settings is not None
    most = arguments_taken(settings.memory)
    yield OwnSource({}, (), MemoryTools(flow), lambda name: most)
