"""What holds for every balancer, whatever it prefers."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator

from flowcore.interfaces import Balancer, Load
from flowcore.testing.bench import Bench, held
from flowcore.testing.findings import Wrong

_STEPS = 2000
_WORKERS = 4
_CONCURRENCY = 8
_PICKS = 400 * _WORKERS
_GROWTH = 100
"""Objects by which a balancer may grow from one hundred generations of workers to the next."""


def _picked(balancer: Balancer, loads: list[Load], affinity: bytes | None, now: float) -> int:
    index: object = balancer.pick(loads, affinity, now)
    if not isinstance(index, int) or not 0 <= index < len(loads):
        raise Wrong(f"pick gave {index!r} for {len(loads)} candidates")
    return index


async def picks_a_candidate(bench: Bench) -> None:
    """whatever has happened, it picks one of the candidates, without a clock or a wait"""
    async with bench.opened() as balancer:
        for _ in _life(balancer, random.Random(1)):
            pass


def _life(balancer: Balancer, chance: random.Random) -> Iterator[int]:
    """Workers that come and go, calls that begin and end, in any order; the numbers of those picked."""
    alive: list[Load] = []
    running: list[tuple[Load, float]] = []
    now, number = 0.0, 0
    for _ in range(_STEPS):
        now += chance.choice((0.0, 1e-6, 0.01, 1.0, 1e6))
        what = chance.choice(("come", "call", "call", "call", "end", "end", "go"))
        if what == "come" or not alive:
            number += 1
            alive.append(Load(number, weight=chance.choice((0.001, 1.0, 3.0))))
        elif what == "call":
            candidates = chance.sample(alive, chance.randint(1, len(alive)))
            affinity = chance.choice((None, b"", chance.randbytes(3)))
            load = candidates[_picked(balancer, candidates, affinity, now)]
            load.active += 1
            balancer.started(load.worker, now)
            running.append((load, now))
            yield load.worker
        elif what == "end" and running:
            load, began = running.pop(chance.randrange(len(running)))
            load.active -= 1
            balancer.finished(load.worker, now, now - began, chance.random() < 0.8)
        elif what == "go":
            gone = alive.pop(chance.randrange(len(alive)))
            balancer.removed(gone.worker)  # its calls are over without a word
            running = [one for one in running if one[0] is not gone]


async def repeats_itself(bench: Bench) -> None:
    """the same seed, times and calls make the same choices"""
    made = []
    for _ in range(2):
        async with bench.opened(seed=11) as balancer:
            made.append(list(_life(balancer, random.Random(2))))
    if made[0] != made[1]:
        raise Wrong("they differ; take chance from context.random, and time from what is given")


async def is_fair(bench: Bench) -> None:
    """workers that are all alike, and busy, get about the same (else its Trial says `fair=False`)"""
    if not bench.trial.fair:
        return
    async with bench.opened() as balancer:
        loads = [Load(number) for number in range(_WORKERS)]
        taken = [0] * _WORKERS
        running: deque[Load] = deque()
        for turn in range(_PICKS):
            now = turn * 0.01
            if len(running) == _WORKERS * _CONCURRENCY // 2:
                done = running.popleft()
                done.active -= 1
                balancer.finished(done.worker, now, 0.01 * _WORKERS, True)
            free = [load for load in loads if load.active < _CONCURRENCY]
            load = free[_picked(balancer, free, b"caller %d" % turn, now)]
            load.active += 1
            balancer.started(load.worker, now)
            taken[load.worker] += 1
            running.append(load)
    even = _PICKS / _WORKERS
    if min(taken) < even / 2 or max(taken) > even * 2:
        raise Wrong(f"of {_PICKS} calls its {_WORKERS} workers got {taken}")


async def forgets_who_is_gone(bench: Bench) -> None:
    """it keeps nothing of workers that are gone"""
    async with bench.opened() as balancer:
        grown = [_after(balancer, 100 * turn) for turn in range(3)]
    if grown[2] - grown[1] > _GROWTH:
        raise Wrong(f"100 generations of workers left {grown[2] - grown[1]} objects behind")


def _after(balancer: Balancer, first: int) -> int:
    """How much it holds on to after a hundred generations of workers."""
    finished: Callable[..., None] = balancer.finished
    for generation in range(first, first + 100):
        loads = [Load(generation * 10 + number) for number in range(10)]
        for turn in range(20):
            now = generation + turn / 100
            load = loads[_picked(balancer, loads, b"caller %d" % turn, now)]
            balancer.started(load.worker, now)
            finished(load.worker, now, 0.01, turn % 2 == 0)
        for load in loads:
            balancer.removed(load.worker)
    return held(balancer)
