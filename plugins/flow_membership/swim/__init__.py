"""`swim`: members probe each other at random, suspect who does not answer, and tell it by gossip.

SWIM (Das, Gupta, Motivala 2002) with suspicion, and Lifeguard (Dadgar, Phillips, Currey 2018): no node
watches all others, and nobody leads. Datagrams are sealed, and what members say is signed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flow_membership.swim.settings import SwimConfig
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.swarm import Membership


@asynccontextmanager
async def open_swim(config: SwimConfig, context: Context) -> AsyncGenerator[Membership]:
    """A member that knows nobody yet; the swarm runs it."""
    from flow_membership.swim.driver import SwimMembership

    del context
    yield SwimMembership(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("membership", "swim", SwimConfig, open_swim))
