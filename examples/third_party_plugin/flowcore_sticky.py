"""The `sticky` balancer: the worker that was chosen last is chosen again while it can take more.

[agent.notes]
balancer = { type = "sticky", calls = 100 }
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore import Context, Factory, Registry, hookimpl
from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.interfaces import Balancer, Load


@attrs.frozen(kw_only=True)
class StickyConfig:
    """Stays with one worker for a number of calls."""

    calls: int = setting(
        100, validator=v.ge(1), help="calls after which another worker has its turn"
    )


class Sticky:
    """Remembers one worker. Sans-IO, like every balancer."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._left = 0
        self._worker = -1

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The remembered worker if it is there and has calls left, else the one with the fewest calls."""
        if self._left > 0:
            for index, load in enumerate(candidates):
                if load.worker == self._worker:
                    self._left -= 1
                    return index
        index = min(range(len(candidates)), key=lambda one: candidates[one].active)
        self._worker = candidates[index].worker
        self._left = self._calls - 1
        return index

    def started(self, worker: int, now: float) -> None:
        """Nothing to remember."""

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """A failure ends the stay."""
        if not ok and worker == self._worker:
            self._left = 0

    def removed(self, worker: int) -> None:
        """So does the worker's end."""
        if worker == self._worker:
            self._left = 0


@asynccontextmanager
async def open_sticky(config: StickyConfig, context: Context) -> AsyncGenerator[Balancer]:
    """A balancer for one agent."""
    yield Sticky(config.calls)


@hookimpl
def flow_register(registry: Registry) -> None:
    """Offer the balancer."""
    registry.add(Factory("balancer", "sticky", StickyConfig, open_sticky))
