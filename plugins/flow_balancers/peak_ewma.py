"""`peak_ewma`: the better of two workers chosen by chance, judged by how long their calls take."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.config import Duration, setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Load


@attrs.frozen(kw_only=True)
class PeakEwmaConfig:
    """How fast a worker's past is forgotten, and what a failure counts for."""

    decay: Duration = setting(
        10.0, validator=v.gt(0), help="time in which a past latency loses 63 % of its weight"
    )
    failure_factor: float = setting(
        10.0,
        validator=v.ge(1),
        help="a failed call counts as so many usual successful ones, so that failing fast attracts nothing",
    )


@attrs.define
class _Past:
    """What one worker's calls took: a moving average that jumps up at once and comes down slowly."""

    cost: float
    """In seconds, as of `at`."""
    at: float


class PeakEwma:
    """Power of two choices (Mitzenmacher 2001) by peak EWMA, after Finagle's `p2c.PeakEwma`.

    A worker costs its average latency times the calls it would then have. The average is exponentially
    weighted by time; a call slower than it replaces it at once, a faster one moves it a little, and
    silence lets it sink, so that a worker that was slow is tried again. Two different candidates are drawn,
    and the cheaper one is taken: nobody is overrun for looking best, and the choice costs the same among
    a hundred workers as among two.
    """

    def __init__(self, config: PeakEwmaConfig, chance: random.Random) -> None:
        self._decay = config.decay
        self._failure_factor = config.failure_factor
        self._random = chance.random
        self._past: dict[int, _Past] = {}
        self._usual: _Past | None = None
        """What successful calls take, whoever does them."""

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The cheaper of two candidates drawn by chance."""
        del affinity
        count = len(candidates)
        if count == 1:
            return 0
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        a, b = candidates[first], candidates[second]
        cost_a, cost_b = self.cost(a, now), self.cost(b, now)
        if cost_a == cost_b:
            return first if a.active <= b.active else second
        return first if cost_a < cost_b else second

    def cost(self, load: Load, now: float) -> float:
        """What another call on this worker would cost, in seconds; one that never finished any is usual."""
        past = self._past.get(load.worker) or self._usual
        if past is None:
            return 0.0
        return past.cost * math.exp((past.at - now) / self._decay) * (load.active + 1)

    def started(self, worker: int, now: float) -> None:
        """The pool counts the calls."""

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """Learn from a call's duration; a failure counts as a multiple of a usual success."""
        if ok:
            self._usual = self._after(self._usual, now, seconds, peak=False)
        else:
            usual = seconds if self._usual is None else self._usual.cost
            seconds = max(seconds, usual * self._failure_factor)
        self._past[worker] = self._after(self._past.get(worker), now, seconds, peak=True)

    def _after(self, past: _Past | None, now: float, seconds: float, *, peak: bool) -> _Past:
        if past is None:
            return _Past(seconds, now)
        kept = math.exp((past.at - now) / self._decay)
        past.at = now
        past.cost = (
            seconds if peak and seconds > past.cost else past.cost * kept + seconds * (1 - kept)
        )
        return past

    def removed(self, worker: int) -> None:
        """Forget its past."""
        self._past.pop(worker, None)


@asynccontextmanager
async def open_peak_ewma(config: PeakEwmaConfig, context: Context) -> AsyncGenerator[PeakEwma]:
    """One balancer for one agent's pool, with chance from the flow."""
    yield PeakEwma(config, context.random)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory("balancer", "peak_ewma", PeakEwmaConfig, open_peak_ewma, stability="stable")
    )
