"""Who does the requests of each name: an agent of this node or, in a swarm, that agent wherever it is."""

from __future__ import annotations

from typing import Protocol

from flowcore.agents import Agent, Directory, Member
from flowcore.federation import Federation
from flowcore.requests import Doer


class Seated(Member, Doer, Protocol):
    """Whom both see: a member of the directory who does requests."""


class Roster:
    """The agents of a node, and whom the directory and the requests see in their places."""

    def __init__(self, directory: Directory) -> None:
        self.local: dict[str, Agent] = {}
        """The agents of this node, by name."""
        self.doers: dict[str, Seated] = {}
        """Who does requests, by name."""
        self._directory = directory
        self._federation: Federation | None = None

    def join(self, agent: Agent) -> None:
        """An agent is here, in the place of the one of its name, if there is one."""
        self.local[agent.name] = agent
        self._take(agent.name)

    def leave(self, name: str) -> None:
        """An agent is here no more. Raises KeyError if it was not."""
        del self.local[name]
        self._take(name)

    def federate(self, federation: Federation | None) -> None:
        """From now on agents may be elsewhere; None: not any more."""
        before = set(self.doers)
        self._federation = federation
        for name in before | set(self.local):
            self._take(name)

    def _take(self, name: str) -> None:
        if self._federation is not None:
            self._federation.take(name, self.local.get(name))
        self.seat(name)

    def seat(self, name: str) -> None:
        """Look anew who does the requests of a name."""
        placed = None if self._federation is None else self._federation.of(name)
        doer: Seated | None = self.local.get(name) if placed is None else placed
        if name in self.doers:
            self._directory.leave(name)
            del self.doers[name]
        if doer is not None:
            self.doers[name] = doer
            self._directory.join(doer)
