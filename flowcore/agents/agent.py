"""An agent: its state, its life after life, and the calls it takes."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from msgspec import Raw

from flowcore.agents.catalog import EMPTY, Catalog
from flowcore.agents.directory import unavailable
from flowcore.agents.events import CatalogChanged, Event, Notification, StateChanged
from flowcore.agents.incarnation import (
    STDERR_LINES,
    Incarnation,
    OpenSource,
    open_incarnation,
)
from flowcore.agents.pool import PoolStatistics, Slot, Waiter
from flowcore.agents.settings import AgentSettings
from flowcore.agents.state import FOLLOWS, State
from flowcore.envelope import Envelope, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
)
from flowcore.interfaces import Balancer
from flowcore.telemetry import Durations, Histogram

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class AgentStatistics:
    """What an agent has done since the flow opened."""

    calls: int
    succeeded: int
    failed: int
    cancelled: int
    lost: int
    """Calls whose worker died under them."""
    lives: int
    durations: Durations
    pool: PoolStatistics | None


class Agent:
    """One `[agent.NAME]`. Made by `open_agent` only; only its own lifecycle changes its state."""

    def __init__(
        self,
        name: str,
        settings: AgentSettings,
        open_source: OpenSource,
        balancer: Balancer,
        chance: random.Random,
        emit: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self.roles = frozenset(settings.roles)
        self.capabilities = frozenset(settings.capabilities)
        self.bare = settings.names == "bare"
        self._open_source = open_source
        self._balancer = balancer
        self._random = chance
        self._emit = emit
        self._changed = changed
        self._state = State.STARTING
        self._reason = ""
        self._since = trio.current_time()
        self._catalog = EMPTY
        self._life: Incarnation | None = None
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._wanted_paused = False
        self._again = trio.Event()
        self._calls = self._succeeded = self._failed = self._cancelled = self._lost = 0
        self._lives = 0
        self._durations = Histogram()

    # ---- what can be seen

    @property
    def state(self) -> State:
        """Its state now."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is in that state, for a person; empty if there is nothing to say."""
        return self._reason

    @property
    def catalog(self) -> Catalog:
        """What it offers, as last announced; kept while it is down."""
        return self._catalog

    def statistics(self) -> AgentStatistics:
        """What it has done since the flow opened."""
        return AgentStatistics(
            calls=self._calls,
            succeeded=self._succeeded,
            failed=self._failed,
            cancelled=self._cancelled,
            lost=self._lost,
            lives=self._lives,
            durations=self._durations.durations(),
            pool=self._life.pool.statistics() if self._life is not None else None,
        )

    def status(self) -> dict[str, Any]:
        """Everything about it, as plain data that JSON can carry."""
        return {
            "name": self.name,
            "state": self._state.value,
            "reason": self._reason,
            "since": round(trio.current_time() - self._since, 3),
            "description": self.settings.description,
            "roles": sorted(self.roles),
            "capabilities": sorted(self.capabilities),
            "offers": {
                "tools": len(self._catalog.tools),
                "resources": len(self._catalog.resources),
                "templates": len(self._catalog.templates),
                "prompts": len(self._catalog.prompts),
            },
            "stderr": list(self._stderr),
            **attrs.asdict(self.statistics()),
        }

    # ---- the way of a call

    async def call(self, envelope: Envelope) -> Reply:
        """Do a request on one of its workers, before the envelope's deadline.

        Raises CallError: what the worker raised, or Overloaded, AgentUnavailable, DeadlineExceeded,
        OutcomeUnknown (the worker died while it ran).
        """
        life = self._life
        if life is None or not self._state.available:
            raise unavailable(self)
        self._calls += 1
        began = False
        with trio.CancelScope(deadline=envelope.deadline) as scope:
            envelope.scope = scope
            pool = life.pool
            now = trio.current_time()
            slot = pool.take(envelope.affinity, now) or await self._wait(life, envelope)
            live = slot.owner
            live.scopes.add(scope)
            began = True
            if self._state is State.IDLE:
                self._become(State.BUSY)
            ok: bool | None = None
            start = trio.current_time()
            try:
                reply: Reply = await live.worker.call(envelope)
                ok = True
            except CallError as error:
                ok = not isinstance(error, (AgentUnavailable, OutcomeUnknown, Overloaded))
                raise
            except Exception:
                ok = False
                raise
            finally:
                live.scopes.discard(scope)
                end = trio.current_time()
                if ok is None and (live.lost or end >= envelope.deadline):
                    ok = False
                self._count(ok, end - start)
                pool.give_back(slot, end, end - start, ok)
                self._rest(life, slot)
        if not scope.cancelled_caught:
            return reply
        if began and live.lost:
            self._lost += 1
            raise OutcomeUnknown(
                f"a worker of agent {self.name!r} was lost while it did this request",
                data={"agent": self.name},
            )
        what = "did not answer" if began else "had no free worker"
        raise DeadlineExceeded(
            f"agent {self.name!r} {what} before the deadline",
            data={"agent": self.name},
            began=began,
        )

    async def _wait(self, life: Incarnation, envelope: Envelope) -> Slot:
        """Wait for a worker, in order of priority and arrival."""
        pool = life.pool
        granted = trio.Event()
        waiter = Waiter(granted.set, envelope.affinity)
        if not pool.wait(envelope.priority, waiter):
            mean = self._durations.mean or 0.1
            after = mean * (pool.waiting + 1) / max(1, pool.limits.max * pool.limits.concurrency)
            raise Overloaded(
                f"the queue of agent {self.name!r} is full ({pool.limits.queue} wait)",
                data={"agent": self.name},
                retry_after=max(0.001, after),
            )
        if pool.shortage():
            life.wake()
        try:
            await granted.wait()
        except BaseException:
            pool.leave_queue(envelope.priority, waiter, trio.current_time())
            raise
        if waiter.refusal is not None:
            raise waiter.refusal
        assert waiter.slot is not None
        return waiter.slot

    def _count(self, ok: bool | None, seconds: float) -> None:
        if ok is None:
            self._cancelled += 1
        elif ok:
            self._succeeded += 1
            self._durations.record(seconds)
        else:
            self._failed += 1
            self._durations.record(seconds)

    def _rest(self, life: Incarnation, slot: Slot) -> None:
        """After a call: tell whoever waits for the worker, or the agent, to have nothing to do."""
        if slot.load.active == 0:
            if slot.leaving:
                if slot.owner.idle is not None:
                    slot.owner.idle.set()
            elif not life.changed.is_set() and len(life.pool.slots) > life.pool.limits.min:
                life.wake()
        if self._state is State.BUSY and life is self._life and not life.pool.active:
            self._become(State.IDLE)

    # ---- steering

    def pause(self) -> None:
        """Take no calls until `resume`; those under way go on. Raises AgentUnavailable if it is not up."""
        if not self._state.available:
            raise unavailable(self)
        self._wanted_paused = True
        self._become(State.PAUSED, "paused by an operator")

    def resume(self) -> None:
        """Take calls again. Raises AgentUnavailable if it is not paused."""
        if self._state is not State.PAUSED:
            raise AgentUnavailable(f"agent {self.name!r} is {self._state.value}, not paused")
        self._wanted_paused = False
        self._become(self._at_work())

    def restart(self) -> None:
        """End this life, letting its calls finish within `shutdown`, and begin another at once."""
        self._again.set()

    def _at_work(self) -> State:
        busy = self._life is not None and self._life.pool.active
        return State.BUSY if busy else State.IDLE

    def _become(self, state: State, reason: str = "") -> None:
        """The one place where the state changes."""
        old = self._state
        if state is old:
            return
        if state not in FOLLOWS[old]:
            raise RuntimeError(f"agent {self.name!r} cannot go from {old.value} to {state.value}")
        listed = old.available and state.available
        self._state = state
        self._reason = reason
        self._since = trio.current_time()
        if not listed:
            self._changed()
            logger.info("agent %s is %s%s", self.name, state.value, f": {reason}" if reason else "")
        self._emit(StateChanged(self.name, old, state, reason, self._since))

    # ---- life after life

    async def live(self, stop: trio.Event, *, task_status: trio.TaskStatus[Agent]) -> None:
        """Be: one life after another, with back-off after a failed one, until `stop`."""
        task_status.started(self)
        failures = 0
        while not stop.is_set():
            self._again = trio.Event()
            started = trio.current_time()
            error = await self._one_life(stop)
            if stop.is_set():
                break
            if error is None:
                self._become(State.STARTING, "restarting")
                failures = 0
                continue
            if trio.current_time() - started > self.settings.restart.period:
                failures = 0
            self._become(State.FAILED, reason_of(error))
            logger.warning("agent %s failed", self.name, exc_info=error)
            await self._back_off(failures, stop)
            failures += 1
            if not stop.is_set():
                self._become(State.STARTING, f"trying again after: {reason_of(error)}")
        if self._state is not State.STOPPED:
            if self._state is not State.DRAINING:
                self._become(State.DRAINING)
            self._become(State.STOPPED)

    async def _one_life(self, stop: trio.Event) -> BaseException | None:
        """From opening the source to its end; what it failed of, None if it was told to end."""
        self._lives += 1
        life: Incarnation | None = None
        try:
            async with open_incarnation(
                self.name,
                self.settings,
                self._open_source,
                self._balancer,
                on_catalog=self._announced,
                on_notification=self._notified,
                stderr=self._stderr,
            ) as life:
                self._life = life
                async with trio.open_nursery() as nursery:
                    for event in (stop, self._again, life.failed):
                        nursery.start_soon(_cancel_on, event, nursery.cancel_scope)
                    await life.ready.wait()
                    self._become(State.PAUSED if self._wanted_paused else State.IDLE)
                    await trio.sleep_forever()
                self._wind_down(life, stop)
        except Exception as error:
            return error
        finally:
            if life is not None:
                life.pool.refuse_all(lambda: unavailable(self))
            self._life = None
        return life.failure

    def _wind_down(self, life: Incarnation, stop: trio.Event) -> None:
        if life.failure is not None:
            self._become(State.FAILED, reason_of(life.failure))
        elif stop.is_set():
            self._become(State.DRAINING)
        else:
            self._become(State.STARTING, "restarting")

    async def _back_off(self, failures: int, stop: trio.Event) -> None:
        settings = self.settings.restart
        longest = min(settings.cap, settings.base * settings.factor ** min(failures, 64))
        with trio.move_on_after(longest * self._random.uniform(0.5, 1.0)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_on, stop, nursery.cancel_scope)
                await self._again.wait()
                nursery.cancel_scope.cancel()

    def _announced(self, catalog: Catalog) -> None:
        old, self._catalog = self._catalog, catalog
        if catalog != old:
            self._changed()
            self._emit(
                CatalogChanged(
                    self.name,
                    tools=catalog.tools != old.tools,
                    resources=(catalog.resources, catalog.templates)
                    != (old.resources, old.templates),
                    prompts=catalog.prompts != old.prompts,
                )
            )

    def _notified(self, method: str, params: Raw) -> None:
        self._emit(Notification(self.name, method, params))


async def _cancel_on(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def reason_of(error: BaseException) -> str:
    """What went wrong, for a person, in a line: the innermost failures of a group, first causes last."""
    if isinstance(error, BaseExceptionGroup):
        reasons = dict.fromkeys(reason_of(one) for one in error.exceptions)
        return "; ".join(reasons)
    text = str(error) or type(error).__name__
    if not isinstance(error, CallError) and not str(error).startswith(type(error).__name__):
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    cause = error.__cause__
    return text if cause is None or str(cause) in text else f"{text} ({reason_of(cause)})"


@asynccontextmanager
async def open_agent(
    name: str,
    settings: AgentSettings,
    open_source: OpenSource,
    balancer: Balancer,
    *,
    chance: random.Random,
    emit: Callable[[Event], None],
    changed: Callable[[], None],
) -> AsyncGenerator[Agent]:
    """An agent that lives while the block does. It starts in the background: entering never waits.

    `emit` is told every event; `changed` is called when what it offers, or whether it does, changes.
    """
    agent = Agent(name, settings, open_source, balancer, chance, emit, changed)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.live, stop)
        try:
            yield agent
        finally:
            stop.set()
