"""An adversary that looks for figure 3.7 of the dissertation (figure 8 of the paper).

Leaders get entries to a few others, not to a majority, and go; another one leads, without those entries;
the first comes again, and gets a bit further; and so on. An engine that counts copies of old terms' entries
commits one that is then overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcore.testing import World
from support.raft_world.machine import Command, encode
from support.raft_world.oracle import Oracle


class Figure8:
    """Cuts leaders off, takes them away, and has others stand, with tails that nobody has committed."""

    def __init__(self, world: World, oracle: Oracle, servers: Sequence[str]) -> None:
        self._world = world
        self._oracle = oracle
        self._servers = list(servers)
        self._running = True
        self._number = 0
        self._down: list[str] = []
        self.turns = 0
        world.after(0.8, self._turn)

    def stop(self) -> None:
        """Let it be; the nemesis mends everything."""
        self._running = False

    def _leader(self) -> Any:
        up = [
            process
            for name in self._servers
            if (process := self._world.nodes[name].process) is not None
            and process.engine.role == "leader"  # type: ignore[attr-defined]
        ]
        return max(up, key=lambda one: one.engine.term) if up else None  # type: ignore[attr-defined]

    def _turn(self) -> None:
        if not self._running:
            return
        world, chance = self._world, self._world.random
        leader = self._leader()
        if leader is None:
            self._someone_stands()
            world.after(chance.uniform(0.05, 0.3), self._turn)
            return
        self.turns += 1
        name = leader.host.name
        others = [one for one in self._servers if one != name]
        few = chance.sample(others, chance.randint(0, len(self._servers) // 2))
        for other in others:
            if other not in few:
                world.links.cut(name, other)
        world.trace(f"figure 8: {name} reaches {' '.join(few) or 'nobody'}")
        for _ in range(chance.randint(1, 3)):
            self._number += 1
            command = encode(Command("figure 8", self._number, "write", "z", self._number))
            leader.act(lambda engine, command=command: engine.propose([command]))
        world.after(chance.uniform(0.01, 0.25), self._take, name)

    def _take(self, name: str) -> None:
        """Take the leader away, and give back who went before."""
        if not self._running:
            return
        world, chance = self._world, self._world.random
        world.links.heal()
        node = world.nodes[name]
        if chance.random() < 0.8:
            node.crash("figure 8")
        else:
            world.links.isolate(name)
        while self._down and (len(self._down) > 1 or chance.random() < 0.7):
            world.nodes[self._down.pop(0)].restart()
        self._down.append(name)
        world.after(chance.uniform(0.05, 0.2), self._stand)

    def _stand(self) -> None:
        if not self._running:
            return
        self._someone_stands()
        self._world.after(self._world.random.uniform(0.1, 0.5), self._turn)

    def _someone_stands(self) -> None:
        chance = self._world.random
        if len(self._down) > 1 or (self._down and chance.random() < 0.3):
            self._world.nodes[self._down.pop(0)].restart()
        up = [
            process
            for name in self._servers
            if (process := self._world.nodes[name].process) is not None
        ]
        if up:
            chance.choice(up).act(lambda engine: engine.campaign(force=True))  # type: ignore[attr-defined]
