"""`weighted`: every worker in turn, in proportion to its weight, without bursts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load


@attrs.frozen(kw_only=True)
class WeightedConfig:
    """How often each worker is taken, compared with the others."""

    weights: tuple[float, ...] = setting(
        (),
        validator=v.each(v.in_range(1e-6, 1e6)),
        help="the weights of the first, second, ... place in the pool; a worker that starts takes the first"
        " free place. Beyond those, and where unset, a worker has the weight that it says itself, else 1",
    )


class Weighted:
    """Smooth weighted round robin, as in nginx (`ngx_http_upstream_get_peer`, 2012).

    At each pick every candidate gains its weight in credit, and the one with the most is taken and pays
    what all have gained. Over a full turn, as many picks as the weights add up to, each worker is taken as
    often as its weight says, spread out: weights 5, 1, 1 give a a b a c a a.

    `weights` are those of places. A worker has the first place that was free when it was first seen, until
    it is gone: whoever is started in its stead takes over its weight.
    """

    def __init__(self, weights: Sequence[float] = ()) -> None:
        self._weights = tuple(weights)
        self._places: dict[int, int] = {}
        self._credit: dict[int, float] = {}

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The candidate with the most credit; among equals the first."""
        del affinity, now
        credit = self._credit
        best = 0
        most = float("-inf")
        gained = 0.0
        for index, load in enumerate(candidates):
            weight = self._weight(load)
            has = credit.get(load.worker, 0.0) + weight
            credit[load.worker] = has
            gained += weight
            if has > most:
                best, most = index, has
        credit[candidates[best].worker] = most - gained
        return best

    def _weight(self, load: Load) -> float:
        place = self._place(load.worker) if self._weights else 0
        return self._weights[place] if place < len(self._weights) else load.weight

    def _place(self, worker: int) -> int:
        place = self._places.get(worker)
        if place is None:
            taken = set(self._places.values())
            place = next(one for one in range(len(taken) + 1) if one not in taken)
            self._places[worker] = place
        return place

    def started(self, worker: int, now: float) -> None:
        """A call was paid for when it was given; a worker that was the only free one has its place now."""
        del now
        if self._weights:
            self._place(worker)

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """How a call ended does not matter here."""

    def removed(self, worker: int) -> None:
        """What it has in credit or owes is shared among the others, so that all adds up to nothing."""
        self._places.pop(worker, None)
        left = self._credit.pop(worker, 0.0)
        for other in self._credit:
            self._credit[other] += left / len(self._credit)


@asynccontextmanager
async def open_weighted(config: WeightedConfig, context: Context) -> AsyncGenerator[Weighted]:
    """One balancer for one agent's pool."""
    del context
    yield Weighted(config.weights)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("balancer", "weighted", WeightedConfig, open_weighted, stability="stable"))
