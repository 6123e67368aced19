"""Agents whose answers a test writes down: for the way of a request, without pools and workers."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio
from msgspec import Raw

from flowcore.agents import AgentSettings, Catalog, State, Tool
from flowcore.envelope import Envelope, Reply
from flowcore.requests import Guard, Guards, Requests, RequestSettings, open_requests

SCHEMA = Raw(
    b'{"type":"object","properties":{"text":{"type":"string"}},"additionalProperties":false}'
)
OK = Reply(Raw(b'{"content":[]}'))

Answer = Callable[[Envelope], Awaitable[Reply]] | Reply | Exception


def tools(*names: str, **hints: bool) -> Catalog:
    """A catalog of tools of these names; hints are `read_only` and `idempotent`."""
    return Catalog(
        tools=tuple(
            Tool(name=name, definition=SCHEMA, input_schema=SCHEMA, **hints) for name in names
        )
    )


@attrs.define(eq=False)
class ScriptedAgent:
    """Gives its answers one after another, the last one for ever. A call that gets that far has begun."""

    answers: list[Answer] = attrs.field(factory=lambda: [OK])
    catalog: Catalog = attrs.field(factory=lambda: tools("work"))
    settings: AgentSettings = attrs.field(factory=AgentSettings)
    state: State = State.IDLE
    name: str = "mine"
    calls: list[Envelope] = attrs.field(factory=list)
    begins: bool = True

    async def call(self, envelope: Envelope) -> Reply:
        self.calls.append(envelope)
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.begins:
            envelope.started = trio.current_time()
        if isinstance(answer, Exception):
            raise answer
        envelope.began = self.begins
        with trio.CancelScope(deadline=envelope.deadline) as scope:
            envelope.scope = scope
            return answer if isinstance(answer, Reply) else await answer(envelope)
        from flowcore.errors import DeadlineExceeded

        raise DeadlineExceeded("too slow")


@asynccontextmanager
async def requests_of(
    *agents: ScriptedAgent, guards: Sequence[Guard] = (), **settings: Any
) -> AsyncGenerator[Requests]:
    """The requests of a node of these agents."""
    by_name = {agent.name: agent for agent in agents}
    async with open_requests(
        RequestSettings(**settings), by_name, random.Random(7), Guards(guards)
    ) as requests:
        yield requests


def call(name: str = "work", *, deadline: float | None = None, **more: Any) -> Envelope:
    """A call of a tool of the agent `mine`; the deadline is in seconds from now."""
    arguments = more.pop("arguments", {})
    more.setdefault("agent", "mine")
    return Envelope(
        name=name,
        params={"arguments": Raw(msgspec.json.encode(arguments))},
        deadline=float("inf") if deadline is None else trio.current_time() + deadline,
        **more,
    )
