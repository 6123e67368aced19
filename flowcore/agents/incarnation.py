"""One life of an agent: its source, its pool and its workers, from opening until it ends or is given up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import trio
from msgspec import Raw

from flowcore.agents.catalog import Catalog
from flowcore.agents.pool import Pool, PoolLimits, Slot
from flowcore.agents.settings import AgentSettings
from flowcore.errors import FlowError
from flowcore.interfaces import Balancer, Worker, WorkerSource
from flowcore.supervise import Child, GaveUp, Restart, Supervisor, open_supervisor

logger = logging.getLogger(__name__)

STDERR_LINES = 50


class WorkerLost(FlowError):
    """A worker missed its heartbeats."""


@attrs.define(eq=False)
class LiveWorker:
    """A worker as its agent holds it: the plugin's worker, and the scopes of the calls it is doing."""

    name: str
    worker: Worker
    stop: trio.Event
    scopes: set[trio.CancelScope] = attrs.field(factory=set)
    lost: bool = False
    idle: trio.Event | None = None
    """Set, where somebody waits for it, when the last call under way has ended."""


class Port:
    """What a worker is given to speak of itself (`flowcore.interfaces.AgentPort`)."""

    def __init__(self, incarnation: Incarnation, worker: str) -> None:
        self._incarnation = incarnation
        self._worker = worker

    @property
    def agent(self) -> str:
        return self._incarnation.name

    @property
    def worker(self) -> str:
        return self._worker

    def announce(self, catalog: Catalog) -> None:
        self._incarnation.on_catalog(catalog)

    def notify(self, method: str, params: Raw) -> None:
        self._incarnation.on_notification(method, params)

    def stderr(self, line: str) -> None:
        self._incarnation.stderr.append(f"{self._worker}: {line}")


@attrs.define(eq=False, kw_only=True)
class Incarnation:
    """The workers of one life of an agent, kept at the number its pool asks for."""

    name: str
    settings: AgentSettings
    source: WorkerSource
    pool: Pool
    supervisor: Supervisor
    on_catalog: Callable[[Catalog], None]
    on_notification: Callable[[str, Raw], None]
    stderr: deque[str]
    ready: trio.Event = attrs.field(factory=trio.Event)
    """A first worker is up: what the agent offers is known."""
    failed: trio.Event = attrs.field(factory=trio.Event)
    failure: BaseException | None = None
    closing: bool = False
    changed: trio.Event = attrs.field(factory=trio.Event)
    _number: int = 0
    _spawning: bool = False

    def wake(self) -> None:
        """Look again whether workers must be started or let go."""
        self.changed.set()

    async def keep(self) -> None:
        """Keep the pool's number of workers, until cancelled."""
        first = 0 if self.pool.limits.min else 1  # what it offers is learnt from a worker
        await self._start(max(first, self.pool.shortage()))
        while True:
            self.changed = trio.Event()
            await self._start(self.pool.shortage())
            for slot in self.pool.surplus(trio.current_time()):
                self.pool.retire(slot)
                slot.owner.stop.set()
            next_surplus = self.pool.next_surplus()
            with trio.move_on_at(
                trio.current_time() + 3600 if next_surplus is None else next_surplus
            ):
                await self.changed.wait()

    async def _start(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            name = f"{self.name}/{self._number}"
            self.pool.starting += 1
            await self.supervisor.start_child(
                Child(
                    name=name,
                    run=_Life(self, name),
                    restart=Restart.TRANSIENT,
                    shutdown=self.settings.shutdown + 1.0,
                )
            )

    def fail(self, error: BaseException) -> None:
        """This life is over, for this reason."""
        if not self.failed.is_set():
            self.failure = error
            self.failed.set()


class _Life:
    """The run of one worker: open it, offer it to the pool, watch its health, let it go."""

    def __init__(self, incarnation: Incarnation, name: str) -> None:
        self.incarnation = incarnation
        self.name = name
        self.counted = True

    async def __call__(self, stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        mine = self.incarnation
        if not self.counted:  # the supervisor restarts it after a crash
            mine.pool.starting += 1
            self.counted = True
        try:
            async with self._open(stop) as live:
                await self._serve(live)
        except Exception as error:
            if not mine.ready.is_set():
                # what cannot start even once is failed at once; what worked before is restarted
                mine.fail(error)
            raise
        finally:
            self._uncount()
            mine.wake()

    def _uncount(self) -> None:
        if self.counted:
            self.counted = False
            self.incarnation.pool.starting -= 1

    @asynccontextmanager
    async def _open(self, stop: trio.Event) -> AsyncGenerator[LiveWorker]:
        settings = self.incarnation.settings.pool
        opening = self.incarnation.source.open_worker(Port(self.incarnation, self.name))
        with trio.CancelScope(deadline=trio.current_time() + settings.start_timeout) as scope:
            async with opening as worker:
                scope.deadline = float("inf")
                yield LiveWorker(self.name, worker, stop)
        if scope.cancelled_caught:
            raise WorkerLost(f"not ready within {settings.start_timeout:g} s")

    async def _serve(self, live: LiveWorker) -> None:
        mine = self.incarnation
        self._uncount()
        slot = mine.pool.up(live, trio.current_time())
        mine.ready.set()
        mine.wake()
        try:
            if mine.source.heartbeat:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._heartbeats, live)
                    await live.stop.wait()
                    nursery.cancel_scope.cancel()
            else:
                await live.stop.wait()
            await self._finish_calls(slot, live)
        finally:
            mine.pool.down(slot)
            live.lost = True
            for scope in tuple(live.scopes):
                scope.cancel()

    async def _finish_calls(self, slot: Slot, live: LiveWorker) -> None:
        """Let the calls under way end, within the time the agent may take to stop."""
        self.incarnation.pool.retire(slot)
        if slot.load.active:
            live.idle = trio.Event()
            with trio.move_on_after(self.incarnation.settings.shutdown):
                await live.idle.wait()

    async def _heartbeats(self, live: LiveWorker) -> None:
        settings = self.incarnation.settings.heartbeat
        missed = 0
        while missed < settings.misses:
            await trio.sleep(settings.interval)
            try:
                with trio.fail_after(settings.interval):
                    await live.worker.ping()
            except Exception as error:
                missed += 1
                reason = str(error) or type(error).__name__
                logger.info("%s: heartbeat missed (%d): %s", live.name, missed, reason)
            else:
                missed = 0
        raise WorkerLost(f"{missed} heartbeats missed, {settings.interval:g} s apart")


OpenSource = Callable[[], AbstractAsyncContextManager[WorkerSource]]


@asynccontextmanager
async def open_incarnation(
    name: str,
    settings: AgentSettings,
    open_source: OpenSource,
    balancer: Balancer,
    *,
    on_catalog: Callable[[Catalog], None],
    on_notification: Callable[[str, Raw], None],
    stderr: deque[str],
) -> AsyncGenerator[Incarnation]:
    """Open the source and start its workers; yields at once, `ready` is set with the first worker."""
    async with open_source() as source:
        pool = Pool(_limits(settings, source), balancer)
        supervisor_ = open_supervisor(
            name,
            intensity=settings.restart.limit,
            period=settings.restart.period,
            dynamic=True,
        )
        incarnation: Incarnation | None = None
        try:
            async with supervisor_ as supervisor:
                incarnation = Incarnation(
                    name=name,
                    settings=settings,
                    source=source,
                    pool=pool,
                    supervisor=supervisor,
                    on_catalog=on_catalog,
                    on_notification=on_notification,
                    stderr=stderr,
                )
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(incarnation.keep)
                    yield incarnation
                    incarnation.closing = True
                    nursery.cancel_scope.cancel()
        except GaveUp as error:
            assert incarnation is not None
            incarnation.fail(error)


def _limits(settings: AgentSettings, source: WorkerSource) -> PoolLimits:
    defaults, pool = source.pool_defaults, settings.pool
    most = defaults.max if pool.max is None else pool.max
    least = min(defaults.min, most) if pool.min is None else pool.min
    return PoolLimits(
        min=least,
        max=max(least, most),
        concurrency=defaults.concurrency if pool.concurrency is None else pool.concurrency,
        idle_timeout=pool.idle_timeout,
        queue=pool.queue,
    )
