"""One run of a seed, whatever the engine: faults, then everything heals, and must work and be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowcore.testing import History, Link, Nemesis, World, uniform
from support.simulation.client import Client
from support.simulation.ends import Broken, check_exactly_once, check_one_order

GRACE = 20.0
"""Seconds after healing within which everybody gets answers again."""


class Run:
    """The world of one seed. What is an engine's own stands in what derives from it."""

    nemesis: Nemesis

    def __init__(self, seed: int, world: World, seconds: float) -> None:
        """For so many seconds things fail."""
        self.seed = seed
        self.world = world
        self.seconds = seconds
        self.history = History()
        self.clients: list[Client] = []

    def play(self) -> Any:
        """Run, heal, and look. Raises what is wrong, with the seed as a note."""
        try:
            self._play()
        except Exception as error:
            if not any("in seed" in note for note in getattr(error, "__notes__", ())):
                error.add_note(f"in seed {self.seed}, after {self.world.now:.3f} s")
            raise
        return self._outcome()

    # ---- what is an engine's own

    def _outcome(self) -> Any:
        """What came of it."""
        raise NotImplementedError

    def _calm(self) -> None:
        """Stop whatever else breaks or disturbs the servers."""

    def _settled(self) -> bool:
        """Whether all servers that take part have done all there is."""
        raise NotImplementedError

    def _members(self) -> Sequence[Any]:
        """Servers that take part and are up."""
        raise NotImplementedError

    def _state(self) -> str:
        """Where the servers are, for a person."""
        raise NotImplementedError

    # ---- the whole of it

    def _play(self) -> None:
        world = self.world
        world.run(until=self.seconds)
        self._calm()
        self.nemesis.stop()
        world.links.set_all(Link(latency=uniform(0.001, 0.005)))
        before = [client.done for client in self.clients]
        end = world.now + GRACE

        def all_served() -> bool:
            return all(
                client.done >= count + 2 for client, count in zip(self.clients, before, strict=True)
            )

        if not world.run(until=end, stop=all_served):
            raise Broken(f"liveness: {GRACE} s after everything healed: {self._told()}")
        for client in self.clients:
            client.stopped = True
        if not world.run(until=world.now + 2 * GRACE, stop=self._settled):
            raise Broken(f"liveness: the servers do not come to agree: {self._told()}")
        self._same_states()
        check_exactly_once(self._members()[0].machine, self.clients)
        check_one_order(self.history)

    def _same_states(self) -> None:
        states = {one.host.name: one.machine.dump() for one in self._members()}
        if len(set(states.values())) != 1:
            raise Broken(f"states differ: {states}")

    def _told(self) -> str:
        clients = [(one.begun, one.done) for one in self.clients]
        return f"{self._state()}\n  clients {clients}"

    def _revive(self, name: str) -> None:
        """Start a server again whose disk has failed."""
        self.world.after(0.3, self._restart, name)

    def _restart(self, name: str) -> None:
        self.world.nodes[name].restart()
