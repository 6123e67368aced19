"""The engine's time: ticks are told when they matter, and never after what came later than they did."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from flow_consensus.bft.engine import Engine

_LONGEST = 200
"""Ticks that are made up for after a pause."""
_SOME = 5
"""Those that are told at once after a pause; between them, what was said meanwhile is heard."""


class Ticking:
    """Tells an engine of the ticks that are over."""

    def __init__(self, engine: Engine, tick: float, calm: Callable[[], int]) -> None:
        """`tick` is how long one is, in seconds; after how many others have something to do, `calm` says."""
        self._engine = engine
        self._tick = tick
        self._calm = calm
        self._due = math.inf
        self._waits = trio.CancelScope()

    def begin(self) -> None:
        """Time begins now."""
        self._due = trio.current_time() + self._tick

    async def wait(self) -> None:
        """Wait for a tick that makes somebody do something."""
        self._waits = trio.CancelScope(deadline=self._until())
        with self._waits:
            await trio.sleep_forever()

    def hurry(self) -> None:
        """Something has happened: wait no longer than for what that has made due."""
        until = self._until()
        if until < self._waits.deadline:
            self._waits.deadline = until

    def _until(self) -> float:
        return self._due + (min(self._engine.calm, self._calm()) - 1) * self._tick

    def tell(self) -> None:
        """Tell of ticks: of all that nothing comes of, and of some more."""
        over = self._over()
        if over > _LONGEST:
            self._due += (over - _LONGEST) * self._tick
            over = _LONGEST
        self._tell(min(over, self._engine.calm - 1 + _SOME))

    def catch_up(self) -> None:
        """Tell of those that `wait` lets pass, before the engine hears what came after them."""
        over = self._over()
        if over > 0:
            self._tell(min(over, self._engine.calm - 1))

    def _over(self) -> int:
        return math.floor((trio.current_time() - self._due) / self._tick) + 1

    def _tell(self, ticks: int) -> None:
        for _ in range(ticks):
            self._due += self._tick
            self._engine.tick()
