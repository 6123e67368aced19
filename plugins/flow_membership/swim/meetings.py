"""Whom to compare everything with, and when: members at random, seeds, who knows what was missed."""

from __future__ import annotations

import random
from collections.abc import Callable

from flow_membership.swim.beliefs import Beliefs, Known
from flow_membership.swim.oneself import Own
from flow_membership.swim.settings import Times
from flow_membership.swim.timers import Timers

_SEED_BACKOFF = 16
_ALWAYS = 1e18


class Meetings:
    """The exchanges that are wanted (`syncing` is what happens in one)."""

    def __init__(
        self,
        own: Own,
        beliefs: Beliefs,
        timers: Timers,
        times: Times,
        chance: random.Random,
        tries: Callable[[Known, float], None],
    ) -> None:
        """`tries` asks one that is held for dead whether it is there again."""
        self._own = own
        self._beliefs = beliefs
        self._timers = timers
        self._times = times
        self._chance = chance
        self._tries = tries
        self._wanted: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._seeds: dict[str, str] = dict.fromkeys(own.seeds, "")
        self._seed_waits: dict[str, tuple[float, float]] = {}
        self._soon = False
        self._over = False

    def take(self) -> dict[str, str]:
        """Addresses to meet, and whom they are thought to be; perhaps ""."""
        taken, self._wanted = self._wanted, {}
        return taken

    def ask(self, address: str, name: str, now: float) -> None:
        """Want an exchange, unless there was one just now."""
        if now - self._asked.get(address, -_ALWAYS) >= self._times.knock_interval / 2:
            self.insist(address, name, now)

    def insist(self, address: str, name: str, now: float) -> None:
        """Want an exchange, whenever there was one."""
        self._asked[address] = now
        self._wanted[address] = name

    def at_random(self, now: float) -> None:
        """Want an exchange with any member."""
        self._soon = False
        others = self._beliefs.present()
        if others and not self._over:
            one = self._chance.choice(others)
            self.ask(one.address, one.name, now)

    def soon(self, now: float) -> None:
        """After a cut has healed, much is news at once, and here or there one misses some of it."""
        if not self._soon:
            self._soon = True
            self._timers.at(now + self.about(self._times.knock_interval), self.at_random)

    def knock(self, now: float) -> None:
        """Is one of the dead there again, or a seed? The fewer dead, the rarer each asks: together, they
        ask about once in an interval."""
        if self._over:
            return
        dead = list(self._beliefs.gone())
        if dead and self._chance.random() < len(dead) / self._beliefs.count():
            self._tries(self._chance.choice(dead), now)
        here = {self._own.address, *(one.address for one in self._beliefs.present())}
        for seed, name in self._seeds.items():
            known = self._beliefs.known.get(name)
            if seed in here or name == self._own.name or (known and known.state.present):
                self._seed_waits.pop(seed, None)
                continue
            again, wait = self._seed_waits.get(seed, (0.0, self._times.knock_interval))
            if now >= again:
                self._seed_waits[seed] = (
                    now + wait * self._chance.uniform(0.5, 1),
                    min(wait * 2, self._times.knock_interval * _SEED_BACKOFF),
                )
                self.ask(seed, name, now)

    def met(self, address: str, name: str) -> None:
        """An exchange with an address has shown who is there."""
        if address in self._seeds:
            self._seeds[address] = name
            self._seed_waits.pop(address, None)

    def end(self) -> None:
        """This node goes: it seeks nobody any more."""
        self._over = True

    def forget(self, now: float) -> None:
        """Forget whom this node asked long ago."""
        before = now - self._times.sync_interval
        self._asked = {at: when for at, when in self._asked.items() if when > before}

    def about(self, seconds: float) -> float:
        """About so long: not all at once."""
        return seconds * self._chance.uniform(0.75, 1.25)
