"""`weighted`: every worker in turn, in proportion to its weight, without bursts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load


@attrs.frozen(kw_only=True)
class WeightedConfig:
    """The weights are the workers' own: there is nothing to set."""


class Weighted:
    """Smooth weighted round robin, as in nginx (`ngx_http_upstream_get_peer`, 2012).

    At each pick every candidate gains its weight in credit, and the one with the most is taken and pays
    what all have gained. Over a full turn, as many picks as the weights add up to, each worker is taken as
    often as its weight says, spread out: weights 5, 1, 1 give a a b a c a a.
    """

    def __init__(self) -> None:
        self._credit: dict[int, float] = {}

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The candidate with the most credit; among equals the first."""
        del affinity, now
        credit = self._credit
        best = 0
        most = float("-inf")
        gained = 0.0
        for index, load in enumerate(candidates):
            has = credit.get(load.worker, 0.0) + load.weight
            credit[load.worker] = has
            gained += load.weight
            if has > most:
                best, most = index, has
        credit[candidates[best].worker] = most - gained
        return best

    def started(self, worker: int, now: float) -> None:
        """A call was paid for when it was given."""

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """How a call ended does not matter here."""

    def removed(self, worker: int) -> None:
        """What it has in credit or owes is shared among the others, so that all adds up to nothing."""
        left = self._credit.pop(worker, 0.0)
        for other in self._credit:
            self._credit[other] += left / len(self._credit)


@asynccontextmanager
async def open_weighted(config: WeightedConfig, context: Context) -> AsyncGenerator[Weighted]:
    """One balancer for one agent's pool."""
    del config, context
    yield Weighted()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("balancer", "weighted", WeightedConfig, open_weighted, stability="stable"))
