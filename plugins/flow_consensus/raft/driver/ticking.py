"""The engine's time: ticks are told when they matter, and never after what came later than they did."""

from __future__ import annotations

import math

import trio

from flow_consensus.raft.engine import Engine


class Ticking:
    """Tells an engine of the ticks that are over. Made when it begins to run."""

    def __init__(self, engine: Engine, tick: float) -> None:
        """`tick` is how long one is, in seconds."""
        self._engine = engine
        self._tick = tick
        self._some = engine.settings.heartbeat_ticks
        self._longest = 4 * engine.settings.election_ticks
        """So many at once it can care about, at most."""
        self._due = trio.current_time() + tick

    async def wait(self) -> None:
        """Wait until the engine has something to do because of the time, or for a heartbeat's time."""
        calm = min(self._engine.calm, self._some)
        await trio.sleep_until(self._due + (calm - 1) * self._tick)

    def tell_some(self) -> None:
        """Tell of ticks; after a pause of some, so that what the leader has said meanwhile is heard."""
        self._tell(self._some)

    def tell_all(self) -> None:
        """Tell of all: a lease rests on it."""
        self._tell(self._longest)

    def catch_up(self) -> None:
        """Tell of those that `wait` lets pass, before the engine hears what came after them."""
        if trio.current_time() - self._due < self._some * self._tick:
            self._tell(self._some)

    def _tell(self, most: int) -> None:
        tick, longest = self._tick, self._longest
        over = math.floor((trio.current_time() - self._due) / tick) + 1
        if over > longest:
            self._due += (over - longest) * tick
            over = longest
        for _ in range(min(over, most)):
            self._due += tick
            self._engine.tick()
