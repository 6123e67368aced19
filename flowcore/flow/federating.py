"""A node's part in the federation: its agents for the others, theirs for its own callers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from flowcore.assembly import BUILTIN, MEMORY
from flowcore.federation import Federation
from flowcore.flow.node import Flow
from flowcore.swarm import FederationSettings, Overlay


@asynccontextmanager
async def open_federation(
    flow: Flow, overlay: Overlay, settings: FederationSettings, tell: Callable[[bytes], None]
) -> AsyncGenerator[Federation]:
    """Have the agents of other nodes beside one's own as long as the block lasts.

    `tell` says to gossip what this node tells of itself.
    """
    federation = Federation(
        overlay,
        settings,
        directory=flow.directory,
        local=flow.agents,
        apart=frozenset({BUILTIN, MEMORY}),
        type_of=flow.type_of,
        submit=flow.submit,
        seat=flow.roster.seat,
        tell=tell,
        watchers=flow.watchers,
        chance=flow.random,
        boot=secrets.randbits(63),
    )
    flow.federate(federation)
    async with trio.open_nursery() as nursery:
        await nursery.start(federation.run)
        try:
            yield federation
        finally:
            flow.federate(None)
            nursery.cancel_scope.cancel()
