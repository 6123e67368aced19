"""An adversary that looks for stale reads: a leader that was replaced, and clients that still reach it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcore.testing import World


class Sideline:
    """Cuts a leader off from the other servers, not from clients; hands leadership over before, or not."""

    def __init__(self, world: World, servers: Sequence[str]) -> None:
        self._world = world
        self._servers = list(servers)
        self._running = True
        self.turns = 0
        world.after(1.0, self._turn)

    def stop(self) -> None:
        """Let it be; the nemesis mends everything."""
        self._running = False

    def _turn(self) -> None:
        if not self._running:
            return
        world, chance = self._world, self._world.random
        up: list[Any] = [world.nodes[name].process for name in self._servers]
        leaders = [one for one in up if one is not None and one.engine.role == "leader"]
        if not leaders:
            world.after(0.1, self._turn)
            return
        self.turns += 1
        leader = max(leaders, key=lambda one: one.engine.term)
        kind = chance.choice(("cut", "hand over", "hand over", "crash"))
        world.trace(f"sideline: {leader.host.name}, {kind}")
        delay = 0.0
        if kind == "hand over":
            to = chance.choice([one for one in self._servers if one != leader.host.name])
            leader.act(lambda engine: engine.transfer_leadership(to))
            delay = chance.choice((0.0, 0.001, 0.01, 0.05))
        world.after(delay, self._take, leader.host.name, kind == "crash")

    def _take(self, name: str, crash: bool) -> None:
        world, chance = self._world, self._world.random
        if not self._running:
            return
        if crash:
            world.nodes[name].crash("sideline")
        else:
            for other in self._servers:
                if other != name:
                    world.links.separate(name, other)
        world.after(chance.uniform(0.3, 2.0), self._back, name)

    def _back(self, name: str) -> None:
        if self._running:
            self._world.links.heal()
            self._world.nodes[name].restart()
            self._world.after(self._world.random.uniform(0.2, 1.0), self._turn)
