"""A node's part in the federation: its agents for the others, theirs for its own callers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from flowcore.assembly import BUILTIN, MEMORY
from flowcore.federation import Federation
from flowcore.flow.node import Flow
from flowcore.swarm import FederationSettings, Member, Overlay


class Members(Protocol):
    """Whom a node knows: a swarm."""

    @property
    def overlay(self) -> Overlay: ...
    def members(self) -> Mapping[str, Member]: ...
    def watch(self, told: Callable[[Member], None]) -> Callable[[], None]: ...
    def tell(self, about: bytes) -> None: ...


@asynccontextmanager
async def open_federation(
    flow: Flow, swarm: Members, settings: FederationSettings
) -> AsyncGenerator[Federation]:
    """Have the agents of other nodes beside one's own as long as the block lasts."""
    federation = Federation(
        swarm.overlay,
        settings,
        directory=flow.directory,
        local=flow.agents,
        apart=frozenset({BUILTIN, MEMORY}),
        type_of=flow.type_of,
        submit=flow.submit,
        seat=flow.roster.seat,
        tell=swarm.tell,
        known=swarm.members,
        watchers=flow.watchers,
        chance=flow.random,
        boot=secrets.randbits(63),
        telemetry=flow.telemetry,
        rows=flow.each_agent,
    )
    flow.federate(federation)
    async with trio.open_nursery() as nursery:
        await nursery.start(federation.run)
        stop = swarm.watch(federation.member)
        try:
            yield federation
        finally:
            stop()
            flow.federate(None)
            nursery.cancel_scope.cancel()
