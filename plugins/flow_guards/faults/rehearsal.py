"""Which experiments run, what they do to a request, and when they have gone too far. Sans-IO."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator

import attrs

from flow_guards.faults.settings import OF_REQUESTS, Experiment, StopSettings


@attrs.define(eq=False)
class Running:
    """An experiment that was started."""

    name: str
    experiment: Experiment
    begins: float
    ends: float
    begun: bool = False
    injected: int = 0
    """How often it has done something, or would have."""


Begin = Callable[[Running], None]
End = Callable[[Running, str], None]
"""Is told why it is over."""


class Rehearsal:
    """The experiments that run, and what came of the requests meanwhile."""

    def __init__(self, stop: StopSettings, chance: random.Random, begin: Begin, end: End) -> None:
        self._stop = stop
        self._chance = chance
        self._begin = begin
        self._end = end
        self.running: dict[str, Running] = {}
        self._outcomes: deque[tuple[float, bool, float]] = deque()
        """When, whether it failed, and how long it took."""
        self._failed = 0
        self.stopped = ""
        """Why it was stopped by itself, the last time."""
        self.injected: Counter[str] = Counter()
        """By kind of fault."""

    def start(self, name: str, experiment: Experiment, now: float) -> Running:
        """Begin one, after its wait; one of the same name that runs ends."""
        self.end(name, "it is started anew")
        begins = now + experiment.after
        running = Running(name, experiment, begins, begins + experiment.duration)
        self.running[name] = running
        self._outcomes.clear()
        self._failed = 0
        self.tick(now)
        return running

    def end(self, name: str, why: str) -> bool:
        """Undo one; whether it was there."""
        running = self.running.pop(name, None)
        if running is None:
            return False
        if running.begun:
            self._end(running, why)
        return True

    def end_all(self, why: str) -> list[str]:
        """Undo all; their names."""
        names = list(self.running)
        for name in names:
            self.end(name, why)
        return names

    def tick(self, now: float) -> float | None:
        """Begin and end what is due; when to be asked again, None: when something is started."""
        for running in tuple(self.running.values()):
            if now >= running.ends:
                self.end(running.name, "its time is over")
            elif now >= running.begins and not running.begun:
                running.begun = True
                self._begin(running)
        return min(
            (one.ends if one.begun else one.begins for one in self.running.values()), default=None
        )

    # ---- requests

    def meets(self, agent: str, now: float) -> Iterator[Running]:
        """The experiments that meet a request of an agent: each by its own chance."""
        for running in self.running.values():
            one = running.experiment
            if (
                running.begun
                and one.fault in OF_REQUESTS
                and now < running.ends
                and (not one.agents or agent in one.agents)
                and self._chance.random() < one.rate
            ):
                yield running

    def delay(self, experiment: Experiment) -> float:
        """Seconds of a delay."""
        later = experiment.delay + self._chance.uniform(-experiment.jitter, experiment.jitter)
        return max(0.0, later)

    def did(self, running: Running) -> None:
        """An experiment has done something, or would have."""
        running.injected += 1
        self.injected[running.experiment.fault] += 1

    def outcome(self, now: float, failed: bool, seconds: float) -> None:
        """A request has ended; if it has come too far, everything is undone."""
        if not any(one.begun for one in self.running.values()):
            return
        self._outcomes.append((now, failed, seconds))
        self._failed += failed
        while self._outcomes and self._outcomes[0][0] <= now - self._stop.window:
            self._failed -= self._outcomes.popleft()[1]
        count = len(self._outcomes)
        if count < self._stop.calls:
            return
        share = self._failed / count
        if share > self._stop.errors:
            self._too_far(f"{share:.0%} of {count} requests failed")
        elif self._stop.p99 is not None:
            slow = sum(took > self._stop.p99 for _, _, took in self._outcomes)
            if slow > count / 100:
                self._too_far(f"{slow} of {count} requests took more than {self._stop.p99:g} s")

    def _too_far(self, why: str) -> None:
        self.stopped = why
        self.end_all(f"it went too far: {why}")
