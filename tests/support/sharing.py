"""Nodes that share a hard state, without links: each has its own requests, over one and the same state."""

from __future__ import annotations

import pathlib
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from msgspec import Raw

from flowcore.durable import Durable, Revocations, open_durable
from flowcore.envelope import Envelope, Reply
from flowcore.requests import Requests, Task
from flowcore.state import State, StateSettings
from support.doers import ScriptedAgent, call, requests_of
from support.keeping import keeping


@attrs.define(eq=False)
class Sharing:
    """One of the nodes."""

    name: str
    holder: str
    agent: ScriptedAgent
    requests: Requests
    durable: Durable
    revoked: Revocations
    scope: trio.CancelScope
    draining: bool = False

    async def begin(self, **more: Any) -> Task:
        """A task that is kept, as an edge hands it over."""
        envelope = call(**more)
        task = self.requests.tasks.begin(envelope)
        await self.requests.tasks.keep(task, envelope)
        return task


@attrs.define(eq=False)
class Shared:
    """The nodes, and what they share."""

    state: State
    nursery: trio.Nursery
    lives: int = 0

    async def start(
        self, name: str, agent: ScriptedAgent | None = None, **settings: Any
    ) -> Sharing:
        """A node in a new life."""
        made: Sharing = await self.nursery.start(
            self._live, name, agent or ScriptedAgent(), settings
        )
        return made

    async def _live(
        self,
        name: str,
        agent: ScriptedAgent,
        settings: dict[str, Any],
        *,
        task_status: trio.TaskStatus[Sharing],
    ) -> None:
        self.lives += 1
        holder = f"{name}/{self.lives}"
        revoked = Revocations()
        with trio.CancelScope() as scope:
            async with requests_of(agent, **settings) as requests:
                node: list[Sharing] = []
                async with open_durable(
                    self.state,
                    requests,
                    holder=holder,
                    doers={agent.name: agent},
                    swarm=None,
                    revoked=revoked,
                    draining=lambda: bool(node) and node[0].draining,
                    chance=random.Random(7),
                ) as durable:
                    made = Sharing(
                        name=name,
                        holder=holder,
                        agent=agent,
                        requests=requests,
                        durable=durable,
                        revoked=revoked,
                        scope=scope,
                    )
                    node.append(made)
                    task_status.started(made)
                    await trio.sleep_forever()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true, looking whenever the state or anything else has moved."""
        with trio.fail_after(60):
            while not true():  # noqa: ASYNC110 - of many kinds of things
                await trio.sleep(0.005)


@asynccontextmanager
async def sharing(
    folder: pathlib.Path, settings: StateSettings | None = None
) -> AsyncGenerator[Shared]:
    """A state that is durable, and nodes that share it."""
    async with keeping(folder, settings) as kept, trio.open_nursery() as nursery:
        yield Shared(kept.state, nursery)
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Gate:
    """An answer that is given when the gate is opened; calls that wait there have begun."""

    reply: Reply
    waiting: int = 0
    opened: trio.Event = attrs.field(factory=trio.Event)

    async def __call__(self, envelope: Envelope) -> Reply:
        self.waiting += 1
        envelope.peer.notify(
            "notifications/progress",
            Raw(b'{"progressToken":1,"progress":1,"total":2,"message":"half"}'),
        )
        await self.opened.wait()
        return self.reply


def said(text: str) -> Reply:
    """A result with this text."""
    return Reply(Raw(b'{"content":[{"type":"text","text":"%b"}]}' % text.encode()))
