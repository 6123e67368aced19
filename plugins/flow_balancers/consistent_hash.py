"""`consistent_hash`: calls of one affinity meet one worker, and few move when workers come and go."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load


@attrs.frozen(kw_only=True)
class ConsistentHashConfig:
    """How evenly the ring is cut, and how much more than others a worker may be given."""

    points: int = setting(
        64,
        validator=v.in_range(1, 1024),
        help="places each worker has on the ring: more cut it more evenly and cost more memory",
    )
    balance: float = setting(
        1.25,
        validator=v.ge(1),
        help="a worker with more than this many times the mean number of calls passes calls on",
    )


class ConsistentHash:
    """A ring (Karger et al., STOC 1997) with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).

    An affinity belongs to the worker at the next point of the ring. When a worker comes or goes, only
    what it gains or had moves: about one part in as many as there are workers. A worker that cannot take
    a call, or has too many, passes it to the next one on the ring, so one popular affinity cannot drown
    its worker. A call without an affinity goes to the worker with the fewest calls.
    """

    def __init__(self, config: ConsistentHashConfig) -> None:
        self._points = config.points
        self._balance = config.balance
        self._ring: list[tuple[int, int]] = []
        """(place, worker), in order of place."""
        self._workers: set[int] = set()

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The first candidate on the ring, from the affinity's place on, that is not above the bound."""
        del now
        index = {load.worker: position for position, load in enumerate(candidates)}
        if not index.keys() <= self._workers:
            for worker in index.keys() - self._workers:
                self._add(worker)
        if affinity is None:
            return min(range(len(candidates)), key=lambda position: candidates[position].active)
        bound = 0
        ring = self._ring
        start = bisect_left(ring, (place(affinity), -1))
        for step in range(len(ring)):
            position = index.get(ring[(start + step) % len(ring)][1])
            if position is None:
                continue
            active = candidates[position].active
            if active == 0:  # below any bound
                return position
            if not bound:
                total = sum(load.active for load in candidates) + 1
                bound = math.ceil(self._balance * total / len(candidates))
            if active < bound:
                return position
        raise AssertionError("the candidates' mean is below the bound, so one of them is")

    def _add(self, worker: int) -> None:
        self._workers.add(worker)
        for point in range(self._points):
            insort(self._ring, (place(b"%d/%d" % (worker, point)), worker))

    def started(self, worker: int, now: float) -> None:
        """The pool counts the calls."""

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """How a call ended does not matter here."""

    def removed(self, worker: int) -> None:
        """Take its points off the ring."""
        if worker in self._workers:
            self._workers.remove(worker)
            self._ring = [point for point in self._ring if point[1] != worker]


def place(key: bytes) -> int:
    """Where on the ring a key is: 64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest())


@asynccontextmanager
async def open_consistent_hash(
    config: ConsistentHashConfig, context: Context
) -> AsyncGenerator[ConsistentHash]:
    """One balancer for one agent's pool."""
    del context
    yield ConsistentHash(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "balancer",
            "consistent_hash",
            ConsistentHashConfig,
            open_consistent_hash,
            stability="stable",
        )
    )
