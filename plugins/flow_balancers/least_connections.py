"""`least_connections`: the worker that is doing the fewest calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load


@attrs.frozen(kw_only=True)
class LeastConnectionsConfig:
    """Least connections has nothing to set."""


class LeastConnections:
    """Takes the worker with the fewest calls under way.

    Among equals it takes the last candidate, which is the one that became free last: its caches are warm,
    and the others can become idle long enough to be let go.
    """

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The last of the candidates with the fewest calls; it looks no further than at an idle one."""
        del affinity, now
        index = best = len(candidates) - 1
        fewest = candidates[best].active
        while fewest and index:
            index -= 1
            active = candidates[index].active
            if active < fewest:
                fewest, best = active, index
        return best

    def started(self, worker: int, now: float) -> None:
        """The pool counts the calls."""

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """How a call ended does not matter here."""

    def removed(self, worker: int) -> None:
        """Nothing was kept of it."""


@asynccontextmanager
async def open_least_connections(
    config: LeastConnectionsConfig, context: Context
) -> AsyncGenerator[LeastConnections]:
    """One balancer for one agent's pool."""
    del config, context
    yield LeastConnections()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "balancer",
            "least_connections",
            LeastConnectionsConfig,
            open_least_connections,
            stability="stable",
        )
    )
