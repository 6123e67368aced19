"""An adversary that looks for figure 3.7 of the dissertation (figure 8 of the paper).

A leader has entries that few others have, and goes; another one leads, gets an entry of its own to nobody,
and goes; the first leads again, gets its old entries to a majority, and goes before that majority has one of
its new term; the second leads again and replaces what the majority has. An engine that counts copies of old
terms' entries has committed them. Random steps are mixed in, so that the world also goes other ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcore.testing import World
from support.simulation.machine import Command, encode

PATIENCE = 150
"""Looks, a few milliseconds apart, before it gives a step up."""


class Figure8:
    """Takes leaders away, and has others stand, so that logs have tails that nobody has committed."""

    def __init__(self, world: World, servers: Sequence[str]) -> None:
        self._world = world
        self._servers = list(servers)
        self._running = True
        self._number = 0
        self._first = self._second = ""
        self._looks = 0
        self.turns = 0
        self.done = 0
        """How often it came to the end of the figure."""
        world.after(1.0, self._begin)

    def stop(self) -> None:
        """Let it be; the nemesis mends everything."""
        self._running = False

    # ---- the figure

    def _begin(self) -> None:
        """(a) A leader gets an entry to few."""
        leader = self._leader()
        if leader is None:
            return self._soon(self._begin, 0.1)
        self.turns += 1
        self._heal()
        self._first = leader.host.name
        few = self._only(self._first, self._some(0, len(self._servers) // 2 - 1))
        self._world.trace(f"figure 8: {self._first} reaches {few}")
        self._propose(leader)
        return self._soon(self._another, self._world.random.uniform(0.02, 0.15), few)

    def _another(self, few: list[str]) -> None:
        """(b) It goes, and one without the entry leads."""
        self._down(self._first)
        self._heal()
        others = [one for one in self._servers if one not in (self._first, *few)]
        self._second = self._world.random.choice(others)
        self._stand(self._second)
        self._looks = 0
        self._soon(self._alone, 0.002)

    def _alone(self) -> None:
        """It gets an entry to nobody, and goes."""
        if not self._leads(self._second):
            return self._look(self._alone)
        self._only(self._second, [])
        self._propose(self._world.nodes[self._second].process)
        return self._soon(self._again, 0.03)

    def _again(self) -> None:
        """(c) The first leads again; its old entries come to a majority."""
        self._down(self._second)
        self._heal()
        self._up(self._first)
        self._stand(self._first)
        self._looks = 0
        self._soon(self._half_way, 0.001)

    def _half_way(self) -> None:
        """It goes once a majority has all that is old, and before a majority has what is new."""
        if not self._leads(self._first):
            return self._look(self._half_way)
        engine: Any = self._engine(self._first)
        old = self._old(engine)
        have = [one for one in self._servers if self._has(one, old)]
        if len(have) <= len(self._servers) // 2 and engine.log.commit < old:
            return self._look(self._half_way)
        return self._soon(self._last, self._world.random.choice((0.0, 0.002, 0.01)))

    def _last(self) -> None:
        """(d) The second leads again."""
        self._down(self._first)
        self._up(self._second)
        self._stand(self._second)
        self.done += 1
        self._soon(self._rest, 0.2)

    def _rest(self) -> None:
        self._heal()
        for name in self._servers:
            self._up(name)
        self._soon(self._begin, self._world.random.uniform(0.3, 1.0))

    # ---- its means

    def _soon(self, call: Any, delay: float, *args: Any) -> None:
        def go() -> None:
            if self._running:
                call(*args)

        self._world.after(delay, go)

    def _look(self, call: Any) -> None:
        """Look again; after a while stand again, or begin anew."""
        self._looks += 1
        if self._looks > PATIENCE:
            return self._rest()
        if self._looks % 50 == 49:
            self._stand(self._first if call == self._half_way else self._second)
        return self._soon(call, 0.003)

    def _engine(self, name: str) -> Any:
        process: Any = self._world.nodes[name].process
        return None if process is None else process.engine

    def _leads(self, name: str) -> bool:
        engine = self._engine(name)
        return engine is not None and engine.role == "leader"

    def _leader(self) -> Any:
        up: list[Any] = [self._world.nodes[name].process for name in self._servers]
        leaders = [one for one in up if one is not None and one.engine.role == "leader"]
        return max(leaders, key=lambda one: one.engine.term, default=None)

    def _old(self, engine: Any) -> int:
        """The last entry of an earlier term in a leader's log."""
        position = engine.log.last
        while position > engine.log.start and engine.log.term(position) == engine.term:
            position -= 1
        return int(position)

    def _has(self, name: str, position: int) -> bool:
        engine, mine = self._engine(name), self._engine(self._first)
        return engine is not None and engine.log.term(position) == mine.log.term(position)

    def _some(self, least: int, most: int) -> list[str]:
        others = [one for one in self._servers if one != self._first]
        return self._world.random.sample(others, self._world.random.randint(least, max(0, most)))

    def _only(self, name: str, others: list[str]) -> list[str]:
        """Let a server reach these others alone."""
        for other in self._servers:
            if other not in (name, *others):
                self._world.links.separate(name, other)
        return others

    def _heal(self) -> None:
        self._world.links.heal()

    def _propose(self, server: Any) -> None:
        for _ in range(self._world.random.randint(1, 2)):
            self._number += 1
            command = encode(Command("figure 8", self._number, "write", "z", self._number))
            server.act(lambda engine, command=command: engine.propose([command]))

    def _down(self, name: str) -> None:
        self._world.nodes[name].crash("figure 8")

    def _up(self, name: str) -> None:
        self._world.nodes[name].restart()

    def _stand(self, name: str) -> None:
        process: Any = self._world.nodes[name].process
        if process is not None:
            process.act(lambda engine: engine.campaign(force=True))
