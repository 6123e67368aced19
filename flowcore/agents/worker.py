"""One worker: opened, offered to the pool, asked for its health, let go."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

import trio
from msgspec import Raw

from flowcore.agents.catalog import Catalog
from flowcore.agents.pool import Pool, Slot
from flowcore.agents.reasons import reason_of
from flowcore.agents.settings import HeartbeatSettings
from flowcore.agents.statistics import Tally
from flowcore.agents.traced import LOCAL_WORK, Doer, Traced
from flowcore.envelope import Principal
from flowcore.errors import FlowError
from flowcore.interfaces import Worker, WorkerSource

logger = logging.getLogger(__name__)

LONGEST_LINE = 1000
"""Characters of a line of stderr that are kept."""


class WorkerLost(FlowError):
    """A worker did not become ready in time, or did not answer its heartbeats."""


class Ear(Protocol):
    """Who hears what the workers of an agent say outside any call, and how each ends."""

    @property
    def name(self) -> str:
        """The agent's name."""
        ...

    @property
    def grace(self) -> float:
        """Seconds that calls under way may go on once their worker was told to leave."""
        ...

    @property
    def closing(self) -> float:
        """Seconds that a worker may take to close."""
        ...

    def announced(self, catalog: Catalog) -> None: ...
    def notified(self, method: str, params: Raw, audience: Principal | None) -> None: ...
    def wrote(self, worker: str, line: str) -> None: ...
    def late(self) -> None:
        """An answer came that nobody waits for any more."""
        ...

    def came_up(self, life: WorkerLife) -> None: ...
    def retired(self, life: WorkerLife) -> None:
        """It takes no further call, and is to be replaced."""
        ...

    @property
    def tally(self) -> Tally: ...
    def ended(self, life: WorkerLife, error: Exception | None, *, was_up: bool) -> None: ...


class Port:
    """What a worker is given to speak of itself (`flowcore.interfaces.AgentPort`).

    Nobody listens to it any more once its worker is being closed.
    """

    __slots__ = ("_ear", "_life", "agent", "worker")

    def __init__(self, ear: Ear, life: WorkerLife) -> None:
        self.agent = ear.name
        self.worker = life.name
        self._life = life
        self._ear: Ear | None = ear

    def announce(self, catalog: Catalog) -> None:
        """This is what the agent offers now."""
        if self._ear is not None:
            self._ear.announced(catalog)

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        """Something happened outside any call."""
        if self._ear is not None:
            self._ear.notified(method, params, audience)

    def stderr(self, line: str) -> None:
        """A line of the worker's stderr; also its last ones, while it closes."""
        if self._ear is not None:
            self._ear.wrote(self.worker, line[:LONGEST_LINE])

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        """Something that a call began goes on; the function is called when it does no more."""
        return self._life.left_behind(what, retire=retire)

    def late(self) -> None:
        """An answer came that nobody waits for any more."""
        if self._ear is not None:
            self._ear.late()

    def close(self) -> None:
        """Listen no more."""
        self._ear = None


class LiveWorker:
    """A worker that is up, as the calls that are given to it see it."""

    __slots__ = ("idle", "label", "life", "lost", "name", "scopes", "silent", "traced", "worker")

    def __init__(self, life: WorkerLife, worker: Worker) -> None:
        self.life = life
        self.name = life.name
        self.worker = worker
        self.traced: Traced = getattr(worker, "traced", LOCAL_WORK)
        """How what it does is recorded."""
        self.label = Doer(self.traced, self.name, self.traced.passes, self.traced.beside)
        self.scopes: set[trio.CancelScope] = set()
        """Those of the calls it is doing."""
        self.lost = False
        self.silent = False
        """A call was given up on, and nothing has been heard from it since."""
        self.idle: trio.Event | None = None
        """Set, where somebody waits for it, when the last call under way has ended."""

    def lose(self) -> None:
        """It is gone: end what it was doing."""
        self.lost = True
        for scope in tuple(self.scopes):
            scope.cancel()


class WorkerLife:
    """A worker from opening to closing; a `Run` for its supervisor."""

    __slots__ = (
        "_ear",
        "_heartbeat",
        "_left_behind",
        "_lost",
        "_opened",
        "_patience",
        "_pool",
        "_scope",
        "_slot",
        "_source",
        "_start_timeout",
        "_stop",
        "_told",
        "name",
        "number",
    )

    def __init__(
        self,
        number: int,
        ear: Ear,
        source: WorkerSource,
        pool: Pool,
        *,
        start_timeout: float,
        heartbeat: HeartbeatSettings,
    ) -> None:
        self.number = number
        self.name = f"{ear.name}/{number}"
        self._ear = ear
        self._source = source
        self._pool = pool
        self._start_timeout = start_timeout
        self._heartbeat = heartbeat
        self._opened = False
        self._told = False
        self._lost: WorkerLost | None = None
        self._stop: trio.Event | None = None
        self._scope: trio.CancelScope | None = None
        """Bounds opening, and later closing."""
        self._patience = trio.CancelScope()
        """Bounds the wait for calls under way, once it was told to leave."""
        self._slot: Slot | None = None
        self._left_behind = 0
        """What has to end before it may be closed."""

    def leave(self) -> None:
        """Let it go: once the calls it is doing have ended, or have had the time for it; at once if it is
        still opening."""
        self._told = True
        self._patience.deadline = min(
            self._patience.deadline, trio.current_time() + self._ear.grace
        )
        if self._stop is not None:
            self._stop.set()
        if self._scope is not None and not self._opened:
            self._scope.cancel()

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        """Count what goes on after its call; with `retire`, take no further call and end after it."""
        tally = self._ear.tally
        tally.left_behind += 1
        logger.warning("worker %s was given up on, and %s", self.name, what)
        if retire:
            self._left_behind += 1
            self._retire()

        def over() -> None:
            tally.left_behind -= 1
            if retire:
                self._left_behind -= 1
                if not self._left_behind and self._stop is not None:
                    self._stop.set()

        return over

    def _retire(self) -> None:
        if self._slot is not None and not self._slot.leaving:
            self._pool.retire(self._slot)
            self._ear.retired(self)

    async def __call__(self, stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
        self._stop = stop
        if self._told:  # before it had begun
            stop.set()
        port = Port(self._ear, self)
        error: Exception | None = None
        try:
            await self._open_and_serve(port, stop, task_status)
        except Exception as failure:
            # told on below: to the agent, and to the supervisor by raising it
            error = failure
        finally:
            port.close()
            if not self._opened:
                self._pool.start_ended(trio.current_time(), failed=not stop.is_set())
        error = self._lost or error
        if stop.is_set() and error is not None:
            logger.info("worker %s ended badly when told to leave: %s", self.name, reason_of(error))
            error = None
        self._ear.ended(self, error, was_up=self._opened)
        if error is not None:
            raise error

    async def _open_and_serve(
        self, port: Port, stop: trio.Event, task_status: trio.TaskStatus[Any]
    ) -> None:
        with trio.CancelScope(deadline=trio.current_time() + self._start_timeout) as scope:
            self._scope = scope
            if stop.is_set():
                scope.cancel()
            task_status.started(self)
            async with self._source.open_worker(port) as worker:
                self._opened = True
                scope.deadline = math.inf
                try:
                    await self._serve(worker, stop)
                finally:
                    scope.deadline = trio.current_time() + self._ear.closing
        if scope.cancelled_caught:
            if self._opened and trio.current_time() >= scope.deadline:
                logger.warning("worker %s took too long to close and was cut off", self.name)
            elif not self._opened and not stop.is_set():
                self._lost = WorkerLost(
                    f"worker {self.name} was not ready within {self._start_timeout:g} s"
                )

    async def _serve(self, worker: Worker, stop: trio.Event) -> None:
        """Be in the pool until told to leave, or lost."""
        live = LiveWorker(self, worker)
        weight = float(getattr(worker, "weight", 1.0))
        slot = self._slot = self._pool.up(self.number, live, trio.current_time(), weight)
        self._ear.came_up(self)
        try:
            if self._source.heartbeat:
                await self._beat_until(stop, slot, live)
            else:
                await stop.wait()
            await self._finish(slot, live)
        finally:
            self._pool.down(slot)
            live.lose()

    async def _finish(self, slot: Slot, live: LiveWorker) -> None:
        """Let the calls under way end, within the time they may still take."""
        self._pool.retire(slot)
        if slot.active:
            live.idle = trio.Event()
            with self._patience:
                await live.idle.wait()

    async def _beat_until(self, stop: trio.Event, slot: Slot, live: LiveWorker) -> None:
        async def beat() -> None:
            self._lost = await self._beat_until_lost(slot, live)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            await stop.wait()
            nursery.cancel_scope.cancel()
        if self._lost is not None:
            raise self._lost

    async def _beat_until_lost(self, slot: Slot, live: LiveWorker) -> WorkerLost:
        """Ask for its health at every interval; give the verdict when it has missed too many.

        A worker that is doing a call may be too busy to answer (many do one thing at a time): silence counts
        only if nothing is under way, or if a call was given up on since it was last heard from.
        """
        interval, misses = self._heartbeat.interval, self._heartbeat.misses
        missed = 0
        reason = ""
        due = trio.current_time()
        while missed < misses:
            due = max(due + interval, trio.current_time())
            await trio.sleep_until(due)
            try:
                with trio.fail_after(interval):
                    await live.worker.ping()
            except trio.TooSlowError:
                if slot.active and not live.silent:
                    continue
                missed += 1
                reason = "no answer"
            except Exception as error:
                missed += 1
                reason = reason_of(error)
            else:
                missed = 0
                live.silent = False
        return WorkerLost(
            f"worker {self.name} missed {missed} heartbeats, {interval:g} s apart: {reason}"
        )
