"""`faults`: failure, rehearsed: requests, links, agents, the node, the machine; for a while, and undone.

Off unless it is configured. Everything that it does is an event, which the guard `audit` writes down. When
more goes wrong than was said, all of it is undone at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

from flow_guards.faults.settings import OF_LINKS, Experiment, FaultsConfig, StopSettings
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.requests import Guard

__all__ = ["Experiment", "FaultsConfig", "StopSettings"]


@asynccontextmanager
async def open_faults(config: FaultsConfig, context: Context) -> AsyncGenerator[Guard]:
    """Experiments that may be started; all are undone when the node ends."""
    from flow_guards.faults.guard import open_guard

    async with open_guard(config, context) as guard:
        yield guard


def _mentions(config: FaultsConfig) -> Iterator[tuple[str, str]]:
    for one in config.experiments.values():
        if one.fault in OF_LINKS:
            yield ("swarm", "swarm")
        yield from (("agent", name) for name in one.agents)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("guard", "faults", FaultsConfig, open_faults, mentions=_mentions))
