"""`round_robin`: every worker in turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load


@attrs.frozen(kw_only=True)
class RoundRobinConfig:
    """Round robin has nothing to set."""


class RoundRobin:
    """Takes the workers in a circle, by their numbers, and passes over those that cannot take a call."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The candidate with the next higher number, or the lowest when the circle is closed."""
        del affinity, now
        last = self._last
        following = lowest = -1
        following_number = lowest_number = 0
        for index, load in enumerate(candidates):
            number = load.worker
            if number > last:
                if following < 0 or number < following_number:
                    following, following_number = index, number
            elif lowest < 0 or number < lowest_number:
                lowest, lowest_number = index, number
        return following if following >= 0 else lowest

    def started(self, worker: int, now: float) -> None:
        """The circle goes on from this worker, whoever chose it."""
        del now
        self._last = worker

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """How a call ended does not matter here."""

    def removed(self, worker: int) -> None:
        """Nothing was kept of it."""


@asynccontextmanager
async def open_round_robin(
    config: RoundRobinConfig, context: Context
) -> AsyncGenerator[RoundRobin]:
    """One balancer for one agent's pool."""
    del config, context
    yield RoundRobin()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory("balancer", "round_robin", RoundRobinConfig, open_round_robin, stability="stable")
    )
