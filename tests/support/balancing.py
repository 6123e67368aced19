"""A virtual world for balancers: workers that serve calls one after another, and time that is a number."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

import attrs

from flowcore.interfaces import Balancer, Load


def loads(*workers: int, active: Sequence[int] = ()) -> list[Load]:
    """Candidates of these numbers; `active` calls each where given."""
    counts = active or [0] * len(workers)
    return [Load(worker, count) for worker, count in zip(workers, counts, strict=True)]


def shares(balancer: Balancer, candidates: list[Load], picks: int) -> dict[int, int]:
    """How often each of the candidates is taken when all of them are always free."""
    taken = {load.worker: 0 for load in candidates}
    for turn in range(picks):
        worker = candidates[balancer.pick(candidates, None, float(turn))].worker
        balancer.started(worker, float(turn))
        taken[worker] += 1
    return taken


@attrs.define
class Outcome:
    """What a simulated day looked like: every call's time from arrival to end, by worker."""

    seconds: dict[int, list[float]]

    @property
    def all(self) -> list[float]:
        return [one for times in self.seconds.values() for one in times]

    def share(self, worker: int) -> float:
        return len(self.seconds[worker]) / len(self.all)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below the given share of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def simulate(
    balancer: Balancer,
    means: Sequence[float],
    *,
    rate: float,
    calls: int,
    chance: random.Random,
) -> Outcome:
    """Poisson arrivals of `rate` a second at workers that each serve one call at a time, in order.

    Worker i serves in a time exponentially distributed with mean `means[i]`; a worker's queue is its own,
    so what is given to a slow one waits behind what it has.
    """
    workers = [Load(number) for number in range(len(means))]
    free_at = [0.0] * len(means)
    ends: list[tuple[float, int, float]] = []
    outcome = Outcome({load.worker: [] for load in workers})
    now = 0.0
    for _ in range(calls):
        now += chance.expovariate(rate)
        while ends and ends[0][0] <= now:
            end, worker, began = heapq.heappop(ends)
            workers[worker].active -= 1
            balancer.finished(worker, end, end - began, True)
        worker = workers[balancer.pick(workers, None, now)].worker
        workers[worker].active += 1
        balancer.started(worker, now)
        free_at[worker] = max(free_at[worker], now) + chance.expovariate(1 / means[worker])
        heapq.heappush(ends, (free_at[worker], worker, now))
        outcome.seconds[worker].append(free_at[worker] - now)
    return outcome


class FirstFree:
    """The balancer that prefers nobody."""

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        del candidates, affinity, now
        return 0

    def started(self, worker: int, now: float) -> None:
        del worker, now

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        del worker, now, seconds, ok

    def removed(self, worker: int) -> None:
        del worker
