"""A server in virtual time: so many calls at once, the others wait in line; with a limit in front, or not."""

from __future__ import annotations

import heapq
import random
from collections import deque

import attrs

from flowcore.resilience import Shedder


@attrs.frozen
class Call:
    """One call and what became of it; times in seconds."""

    came: float
    priority: int
    ended: float | None
    """None: refused."""


@attrs.define
class Server:
    """`workers` calls at a time, each as long as `service` says on average (exponentially distributed)."""

    workers: int
    service: float
    seed: int = 1

    @property
    def capacity(self) -> float:
        """Calls a second at most."""
        return self.workers / self.service

    def serve(
        self,
        rate: float,
        seconds: float,
        shedder: Shedder | None,
        *,
        start: float = 0.0,
        shares: tuple[float, float, float] = (0.0, 1.0, 0.0),
    ) -> list[Call]:
        """Calls that come at random, `rate` a second, of the priorities in these shares; all of them."""
        chance = random.Random(self.seed)
        now, until = start, start + seconds
        next_call = now + chance.expovariate(rate)
        line: deque[tuple[float, int]] = deque()
        running: list[tuple[float, float, int]] = []
        done: list[Call] = []
        while next_call < until or running:
            if next_call < until and (not running or next_call <= running[0][0]):
                now = next_call
                next_call = now + chance.expovariate(rate)
                priority = chance.choices((0, 1, 2), shares)[0]
                if shedder is not None and not shedder.admit(priority, now):
                    done.append(Call(now, priority, None))
                    continue
                line.append((now, priority))
            else:
                now, came, priority = heapq.heappop(running)
                if shedder is not None:
                    shedder.ended(now - came, now)
                done.append(Call(came, priority, now))
            while line and len(running) < self.workers:
                came, priority = line.popleft()
                end = now + chance.expovariate(1 / self.service)
                heapq.heappush(running, (end, came, priority))
        return done
