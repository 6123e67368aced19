"""One life of an agent: its source, its pool and its workers, from opening until it ends or is given up."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import trio
from msgspec import Raw

from flowcore.agents.calls import Calls
from flowcore.agents.catalog import Catalog
from flowcore.agents.pool import Pool, PoolLimits
from flowcore.agents.reasons import reason_of
from flowcore.agents.settings import AgentSettings
from flowcore.agents.statistics import Tally
from flowcore.agents.worker import WorkerLife
from flowcore.envelope import Principal
from flowcore.errors import FlowError
from flowcore.interfaces import Balancer, WorkerSource
from flowcore.supervise import Child, Intensity, Restart, Supervisor, open_supervisor

logger = logging.getLogger(__name__)

OpenSource = Callable[[], AbstractAsyncContextManager[WorkerSource]]
OpenBalancer = Callable[[], AbstractAsyncContextManager[Balancer]]


LEAST_TO_CLOSE = 1.0
"""Seconds that closing may take, however little time calls are given."""


class CrashLoop(FlowError):
    """An agent's workers crashed more often than they may; `__cause__` is the last crash."""


class Whole(Protocol):
    """The agent whose life this is."""

    @property
    def name(self) -> str: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def numbers(self) -> Iterator[int]:
        """The next worker's number."""
        ...

    def nudge(self) -> None:
        """Something happened to this life: look at it."""
        ...

    def at_rest(self, now: float) -> None:
        """No call is under way any more."""
        ...

    def announced(self, catalog: Catalog) -> None: ...
    def notified(self, method: str, params: Raw, audience: Principal | None) -> None: ...
    def wrote(self, worker: str, line: str) -> None: ...
    def late(self) -> None: ...


class Incarnation:
    """The workers of one life of an agent, kept at the number its pool asks for.

    A worker that crashes is replaced when the pool needs it, at once. More crashes than the settings'
    `restart.limit` within its `period`, or a failed start while no worker is up, end this life.
    """

    def __init__(
        self,
        whole: Whole,
        settings: AgentSettings,
        source: WorkerSource,
        balancer: Balancer,
        supervisor: Supervisor,
    ) -> None:
        self.name = whole.name
        self.grace = settings.shutdown
        self.closing = max(settings.shutdown, LEAST_TO_CLOSE)
        self.pool = Pool(limits(settings, source), balancer)
        self.calls = Calls(
            whole.name, self.pool, whole.tally, wake=self.wake, at_rest=whole.at_rest
        )
        self.ready = False
        """A worker has been up: what the agent offers is known."""
        self.failure: Exception | None = None
        self.trouble: str | None = None
        """What the last failed worker failed of, until another one has come up."""
        self.tally = whole.tally
        self._whole = whole
        self._settings = settings
        self._source = source
        self._supervisor = supervisor
        self._intensity = Intensity(settings.restart.limit, settings.restart.period)
        self._workers: dict[str, WorkerLife] = {}
        self._numbers = whole.numbers
        self._woken = trio.Event()
        self._leaving = False

    # ---- keeping the number

    def wake(self) -> None:
        """Look again whether workers must be started or let go."""
        self._woken.set()

    async def keep(self) -> None:
        """Keep the pool's number of workers, until they are told to leave."""
        while not self._leaving:
            self._woken = trio.Event()
            plan = self.pool.plan(trio.current_time())
            for slot in plan.dismiss:
                self.pool.retire(slot)
                slot.owner.life.leave()
            for _ in range(plan.start):
                if self._leaving:  # nobody would tell it to leave any more
                    return
                await self._start()
            if not plan.start and not plan.dismiss:
                with trio.move_on_at(plan.again):
                    await self._woken.wait()

    async def _start(self) -> None:
        life = WorkerLife(
            next(self._numbers),
            self,
            self._source,
            self.pool,
            start_timeout=self._settings.pool.start_timeout,
            heartbeat=self._settings.heartbeat,
        )
        self._workers[life.name] = life
        self.pool.start()
        # temporary, for it is the pool that decides whether it is replaced; shutdown 0, for `wind_down`
        # has given it its time before the supervisor closes
        child = Child(name=life.name, run=life, restart=Restart.TEMPORARY, shutdown=0.0)
        with trio.CancelScope(shield=True):  # it comes back at once: a life says that it has begun
            await self._supervisor.start_child(child)

    async def wind_down(self) -> None:
        """Tell every worker to leave, and wait until they have, or have had the time for it."""
        self._leaving = True
        self.wake()
        for life in tuple(self._workers.values()):
            life.leave()
        with trio.move_on_after(self.grace + self.closing + 1.0):
            while self._workers:
                self._woken = trio.Event()
                await self._woken.wait()

    # ---- what workers tell (`flowcore.agents.worker.Ear`)

    def announced(self, catalog: Catalog) -> None:
        """This is what the agent offers now."""
        self._whole.announced(catalog)

    def notified(self, method: str, params: Raw, audience: Principal | None) -> None:
        """Something happened outside any call; `audience` is whom alone it is for."""
        self._whole.notified(method, params, audience)

    def wrote(self, worker: str, line: str) -> None:
        """A line of a worker's stderr."""
        self._whole.wrote(worker, line)

    def late(self) -> None:
        """An answer came that nobody waits for any more."""
        self._whole.late()

    def came_up(self, life: WorkerLife) -> None:
        """A worker is in the pool."""
        del life
        self.trouble = None
        if not self.ready:
            self.ready = True
            self._whole.nudge()
        self.wake()

    def retired(self, life: WorkerLife) -> None:
        """A worker takes no further call: another one is to take its place."""
        del life
        self.tally.retired += 1
        self.wake()

    def ended(self, life: WorkerLife, error: Exception | None, *, was_up: bool) -> None:
        """A worker is closed; `error` is what it failed of, None if it was told to leave."""
        del self._workers[life.name]
        if error is not None and not self._leaving:
            self._meet(life.name, error, was_up=was_up)
        self.wake()

    def _meet(self, worker: str, error: Exception, *, was_up: bool) -> None:
        self.trouble = reason_of(error)
        self._whole.tally.crashes += 1
        restart = self._settings.restart
        if was_up:
            if not self._intensity.allows(trio.current_time()):
                loop = CrashLoop(
                    f"more than {restart.limit} workers crashed within {restart.period:g} s,"
                    f" the last: {reason_of(error)}"
                )
                loop.__cause__ = error
                self.fail(loop)
        elif not self.pool.slots and not self.pool.starting:
            self.fail(error)
        if self.failure is None:  # else the agent has a line with its reason
            logger.warning("agent %s: worker %s crashed", self.name, worker, exc_info=error)

    def fail(self, error: Exception) -> None:
        """This life has failed, of this; only the first reason counts."""
        if self.failure is None:
            self.failure = error
            self._whole.nudge()


@asynccontextmanager
async def open_incarnation(
    whole: Whole, settings: AgentSettings, open_source: OpenSource, open_balancer: OpenBalancer
) -> AsyncGenerator[Incarnation]:
    """Open balancer and source and start the workers in the background: entering waits for those two alone.

    Leaving ends what `wind_down` has not.
    """
    async with open_balancer() as balancer, open_source() as source:
        async with open_supervisor(whole.name, dynamic=True, quiet=True) as supervisor:
            life = Incarnation(whole, settings, source, balancer, supervisor)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(life.keep)
                yield life
                nursery.cancel_scope.cancel()


def limits(settings: AgentSettings, source: WorkerSource) -> PoolLimits:
    """The pool's numbers: what the settings leave open is as the type of agent says."""
    defaults, pool = source.pool_defaults, settings.pool
    most = defaults.max if pool.max is None else pool.max
    least = min(defaults.min, most) if pool.min is None else pool.min
    return PoolLimits(
        min=least,
        max=max(least, most),
        concurrency=defaults.concurrency if pool.concurrency is None else pool.concurrency,
        idle_timeout=pool.idle_timeout,
        queue=pool.queue,
        ageing=pool.ageing,
        max_starting=pool.max_starting,
        retry_base=settings.restart.base,
        retry_cap=settings.restart.cap,
    )
