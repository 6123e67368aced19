"""Failure detection: who is probed when, by whom else, and what an answer or its lack says.

SWIM section 3.1 (a probe each period, then k others are asked), 4.3 (everybody in turn, in an order drawn by
chance); Lifeguard 4.1 (nacks). Two things are done besides, for networks that lose packets: a probe that is
not answered is repeated, twice, beside the indirect ones; and how long an answer is waited for follows the
measured round trip (RFC 6298).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

import attrs

from flow_membership.swim.beliefs import Beliefs, Known
from flow_membership.swim.health import LocalHealth
from flow_membership.swim.timers import Timers

ATTEMPTS = 3
"""Times that a member is asked directly before it counts as not answering."""
_MOST_NUMBER = 2**32


@attrs.frozen(kw_only=True)
class ProbeRules:
    """The numbers by which members are probed; seconds."""

    interval: float
    least_timeout: float
    most_timeout: float
    indirect: int


@attrs.define(eq=False)
class RoundTrip:
    """Smoothed round-trip time and its variation (RFC 6298, section 2); seconds."""

    mean: float
    variation: float

    def take(self, seconds: float) -> None:
        self.variation += (abs(seconds - self.mean) - self.variation) / 4
        self.mean += (seconds - self.mean) / 8


@attrs.define(eq=False)
class Probe:
    """One member, asked in one period."""

    target: Known
    began: float
    timeout: float
    ends: float
    attempts: int = 0
    asked: set[str] = attrs.field(factory=set)
    """Who was asked to ask."""
    heard: set[str] = attrs.field(factory=set)
    """Who of them said that nothing came."""
    done: bool = False


class Outgoing(Protocol):
    """What a prober has sent; the engine knows how."""

    def ping(self, target: Known, number: int) -> None: ...
    def ping_by(self, helper: Known, target: Known, number: int, wait: float) -> None: ...


class Prober:
    """The probes of one node."""

    def __init__(
        self,
        rules: ProbeRules,
        beliefs: Beliefs,
        health: LocalHealth,
        timers: Timers,
        chance: random.Random,
        outgoing: Outgoing,
        silent: Callable[[Known, float], None],
    ) -> None:
        """`silent` is told of a member that has never answered at all, to be tried in another way."""
        self._rules = rules
        self._beliefs = beliefs
        self._health = health
        self._timers = timers
        self._chance = chance
        self._outgoing = outgoing
        self._silent = silent
        self._order: list[str] = []
        self._at = 0
        self._number = chance.randrange(_MOST_NUMBER)
        self._waiting: dict[int, tuple[Probe, float]] = {}
        """By number: the probe, and when it was asked directly (0: through others)."""
        self._probing: dict[str, Probe] = {}
        """By name."""
        self.trips: dict[str, RoundTrip] = {}
        self.usual: RoundTrip | None = None
        """Of all: for who has not been measured yet."""
        self.begun = self.answered = self.failed = self.indirect = self.late = 0

    # ---- whose turn it is

    def add(self, name: str) -> None:
        """Somebody new: probed from now on, somewhere in this round."""
        if name not in self._order:
            self._order.insert(self._chance.randint(0, len(self._order)), name)

    def _next(self) -> Known | None:
        for _ in range(len(self._order) + 1):
            if self._at >= len(self._order):
                self._order = [one.name for one in self._beliefs.present()]
                self._chance.shuffle(self._order)
                self._at = 0
                if not self._order:
                    return None
            known = self._beliefs.known.get(self._order[self._at])
            self._at += 1
            if known is not None and known.state.present:
                return known
        return None

    # ---- a probe

    def begin(self, now: float) -> None:
        """Probe whose turn it is, unless it is being probed still."""
        target = self._next()
        if target is None or target.name in self._probing:
            return
        factor = self._health.factor
        timeout = self.timeout(target.name) * factor
        ends = now + max(self._rules.interval * factor, (ATTEMPTS + 1) * timeout)
        probe = Probe(target, now, timeout, ends)
        self._probing[target.name] = probe
        self.begun += 1
        self._attempt(probe, now)

    def timeout(self, name: str) -> float:
        """Seconds in which an answer is expected."""
        trip = self.trips.get(name) or self.usual
        rules = self._rules
        if trip is None:
            return rules.most_timeout
        expected = trip.mean + 4 * trip.variation
        return min(rules.most_timeout, max(rules.least_timeout, expected))

    def _attempt(self, probe: Probe, now: float) -> None:
        if probe.done:
            return
        if probe.attempts >= ATTEMPTS:
            self._fail(probe, now)
            return
        probe.attempts += 1
        target = probe.target
        self._outgoing.ping(target, self._numbered(probe, now))
        if probe.attempts > 1:
            if not target.answered:
                self._silent(target, now)
            self._ask_others(probe, now)
        last = probe.attempts == ATTEMPTS
        self._timers.at(
            probe.ends if last else now + probe.timeout, lambda now: self._attempt(probe, now)
        )

    def _ask_others(self, probe: Probe, now: float) -> None:
        others = [
            one
            for one in self._beliefs.present()
            if one is not probe.target and one.answered and one.suspicion is None
        ]
        for helper in self._chance.sample(others, min(self._rules.indirect, len(others))):
            number = self._numbered(probe, 0.0)
            wait = (probe.ends - now) * 0.7
            self._outgoing.ping_by(helper, probe.target, number, wait)
            probe.asked.add(helper.name)
            self.indirect += 1

    def _numbered(self, probe: Probe, sent: float) -> int:
        self._number = self._number % _MOST_NUMBER + 1
        self._waiting[self._number] = (probe, sent)
        return self._number

    def acknowledged(self, name: str, number: int, now: float) -> None:
        """`name` has answered, itself."""
        found = self._waiting.get(number)
        if found is None or found[0].target.name != name:
            self.late += number > 0  # 0 was asked without a probe
            return
        probe, sent = found
        if sent:
            self._measured(name, now - sent)
        if not probe.done:
            self._end(probe)
            self.answered += 1
            self._health.probe_answered()

    def _measured(self, name: str, seconds: float) -> None:
        for trip in (self.trips.get(name), self.usual):
            if trip is not None:
                trip.take(seconds)
        self.trips.setdefault(name, RoundTrip(seconds, seconds / 2))
        if self.usual is None:
            self.usual = RoundTrip(seconds, seconds / 2)

    def nacked(self, helper: str, number: int) -> None:
        """A helper has said that nothing came through it."""
        found = self._waiting.get(number)
        if found is not None and helper in found[0].asked:
            found[0].heard.add(helper)

    def heard(self, name: str) -> None:
        """`name` has shown in another way that it is there."""
        probe = self._probing.get(name)
        if probe is not None:
            self._end(probe)

    def _fail(self, probe: Probe, now: float) -> None:
        self._end(probe)
        self.failed += 1
        target = probe.target
        self._health.probe_failed(
            others_heard=self._beliefs.last_heard > probe.began, helpers_heard=bool(probe.heard)
        )
        if self._beliefs.known.get(target.name) is target:
            self._beliefs.suspect(target, now)

    def _end(self, probe: Probe) -> None:
        probe.done = True
        self._probing.pop(probe.target.name, None)
        for number in [at for at, one in self._waiting.items() if one[0] is probe]:
            del self._waiting[number]

    def void(self) -> None:
        """This node was away: nobody is to blame for what was not heard meanwhile."""
        for probe in list(self._probing.values()):
            self._end(probe)

    def forget(self, names: set[str]) -> None:
        """Keep nothing of members that are not among these."""
        for name in self.trips.keys() - names:
            del self.trips[name]
