"""One of ten workers ten times slower, at 70 % load: who gets it, and what callers wait. In virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from benchmarks.report import Figure
from flowcore.interfaces import Balancer, Load

WORKERS = 10
SERVICE = 0.010
SLOWER = 10.0
SHARE = 0.7
CALLS = 200_000


def run() -> list[Figure]:
    """The share of the slow worker and the tail, for each balancer; bars are for peak_ewma."""
    from flow_balancers.least_connections import LeastConnections
    from flow_balancers.peak_ewma import PeakEwma, PeakEwmaConfig
    from flow_balancers.round_robin import RoundRobin

    makers: dict[str, Callable[[], Balancer]] = {
        "peak_ewma": lambda: PeakEwma(PeakEwmaConfig(), random.Random(1)),
        "least_connections": lambda: LeastConnections(),
        "round_robin": lambda: RoundRobin(),
    }
    figures = []
    best = _simulate(makers["peak_ewma"](), slow=1.0)[1]
    for name, make in makers.items():
        share, tail = _simulate(make(), slow=SLOWER)
        ewma = name == "peak_ewma"
        figures.append(
            Figure(
                name=f"{name}: calls to the slow worker",
                value=share * 100,
                unit="%",
                bar=3.0 if ewma else None,
            )
        )
        figures.append(
            Figure(
                name=f"{name}: p99 over that of equal workers",
                value=tail / best,
                unit="x",
                bar=10.0 if ewma else None,
            )
        )
    return figures


def _simulate(balancer: Balancer, *, slow: float) -> tuple[float, float]:
    """(share of calls that the slow worker got, p99 in seconds); a worker does one call after another."""
    chance = random.Random(2)
    capacity = (WORKERS - 1) / SERVICE + 1 / (SERVICE * slow)
    loads = [Load(worker) for worker in range(WORKERS)]
    free_at = [0.0] * WORKERS
    ends: list[tuple[float, int, float]] = []
    now, to_slow = 0.0, 0
    waits = []
    for _ in range(CALLS):
        now += chance.expovariate(SHARE * capacity)
        while ends and ends[0][0] <= now:
            end, worker, began = heapq.heappop(ends)
            loads[worker].active -= 1
            balancer.finished(worker, end, end - began, True)
        worker = loads[balancer.pick(loads, None, now)].worker
        balancer.started(worker, now)
        loads[worker].active += 1
        service = chance.expovariate(1 / (SERVICE * (slow if worker == 0 else 1.0)))
        free_at[worker] = max(now, free_at[worker]) + service
        heapq.heappush(ends, (free_at[worker], worker, now))
        waits.append(free_at[worker] - now)
        to_slow += worker == 0
    waits.sort()
    return to_slow / CALLS, waits[int(0.99 * CALLS)]
