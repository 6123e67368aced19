"""An agent: its state, its life after life, and the calls it takes.

    async with open_agent("time", settings, open_source, open_balancer, ...) as agent:
        reply = await agent.call(envelope)

It is given what opens its source of workers and its balancer, and keeps opening them (`Lives`): a life that
fails is followed by another one, after a wait that grows. It starts in the background and fails alone.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from msgspec import Raw

from flowcore.agents.catalog import EMPTY, Catalog
from flowcore.agents.directory import LISTED, unavailable
from flowcore.agents.events import CatalogChanged, Notification, StateChanged
from flowcore.agents.incarnation import (
    OpenBalancer,
    OpenSource,
)
from flowcore.agents.lives import Lives
from flowcore.agents.orders import PAUSED
from flowcore.agents.settings import AgentSettings
from flowcore.agents.state import FOLLOWS, State
from flowcore.agents.statistics import AgentStatistics, Came, Tally
from flowcore.agents.watch import Watchers
from flowcore.envelope import Envelope, Principal, Reply
from flowcore.errors import AgentUnavailable

logger = logging.getLogger(__name__)

_IDLE, _BUSY = State.IDLE, State.BUSY  # looking these up costs on every call

FENCE = "io.flowcore/fence"
"""The member of `_meta` that tells a singleton the number it runs under."""
STDERR_LINES = 50
"""How many of the last lines its workers wrote to stderr are kept."""


class Agent:
    """One `[agent.NAME]`. Made by `open_agent` only; only its own lifecycle changes its state."""

    def __init__(
        self,
        name: str,
        settings: AgentSettings,
        open_source: OpenSource,
        open_balancer: OpenBalancer,
        chance: random.Random,
        watchers: Watchers,
        changed: Callable[[Agent], None],
        late: Callable[[], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self.roles = frozenset(settings.roles)
        self.capabilities = frozenset(settings.capabilities)
        self.bare = settings.names == "bare"
        self._watchers = watchers
        self._changed = changed
        self._late = late
        self._now = (
            trio.lowlevel.current_clock().current_time
        )  # trio.current_time, less its detours
        self._state = State.STARTING
        self._reason = ""
        self._since = trio.current_time()
        self._moved: trio.Event | None = None
        """Set with the next change of state, where somebody waits for it."""
        self._catalog = EMPTY
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self.tally = Tally()
        self._lives = Lives(self, self._become, open_source, open_balancer, chance)
        self._orders = self._lives.orders
        self.fence = 0
        """Of a singleton: the number under which it runs here, greater than any before; 0: it does not."""
        self._orders.undecided = settings.singleton
        self.numbers = itertools.count(1)
        """The next worker's number; none is given twice, in all lives."""

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
    def standing_by(self) -> bool:
        """Whether it is a singleton that is another node's to run."""
        return bool(self._orders.standby)

    @property
    def load(self) -> float:
        """How busy it is: the part of what its pool takes at a time that is under way or waits, 0 to 1."""
        life = self._lives.life
        return 0.0 if life is None else life.pool.load

    @property
    def size(self) -> int:
        """How many calls it takes at a time; 1 while that is not known."""
        life = self._lives.life
        return 1 if life is None else life.pool.limits.max * life.pool.limits.concurrency

    @property
    def retry_after(self) -> float | None:
        """Seconds until it is tried again, where it has failed."""
        if self._lives.next_try is None:
            return None
        return max(0.001, self._lives.next_try - trio.current_time())

    @property
    def catalog(self) -> Catalog:
        """What it offers, as last announced; kept while it is down."""
        return self._catalog

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        """The last lines that its workers wrote to stderr, of all its lives."""
        return tuple(self._stderr)

    def statistics(self) -> AgentStatistics:
        """What it has done since the flow opened."""
        life = self._lives.life
        return self.tally.statistics(life.pool.statistics() if life is not None else None)

    def status(self) -> dict[str, Any]:
        """Everything about it, as plain data that JSON can carry; times in seconds."""
        now = trio.current_time()
        return {
            "name": self.name,
            "state": self._state.value,
            "reason": self._reason,
            "since": round(now - self._since, 3),
            "fence": self.fence,
            "trouble": self._lives.life.trouble if self._lives.life is not None else None,
            "retry_after": self.retry_after,
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

    async def wait_until(self, *states: State) -> State:
        """Wait until it is in one of the states; give which."""
        while self._state not in states:
            await self._moves()
        return self._state

    async def _moves(self) -> None:
        if self._moved is None:
            self._moved = trio.Event()
        await self._moved.wait()

    def call(self, envelope: Envelope) -> Coroutine[Any, Any, Reply]:
        """Do a request on one of its workers, before the envelope's deadline.

        Raises CallError: what the worker raised, or Overloaded, AgentUnavailable, DeadlineExceeded,
        OutcomeUnknown (the worker was gone while it ran). Any other exception is the worker's own fault.
        Takes no checkpoint of its own where a worker is free.
        """
        life = self._lives.life
        if life is None or not self._state.available:
            self.tally.refuse()
            raise unavailable(self)
        now = self._now()
        if self.fence:
            envelope.meta = {**envelope.meta, FENCE: Raw(b"%d" % self.fence)}
        elif FENCE in envelope.meta:  # it is the node's to say
            envelope.meta = {key: one for key, one in envelope.meta.items() if key != FENCE}
        if self._state is _IDLE:
            self._stir(_BUSY, now)
        return life.calls.do(envelope, now)

    # ---- steering

    def retune(self, settings: AgentSettings) -> None:
        """Have other settings from now on. They may differ in what is reloadable only."""
        self.settings = settings

    def pause(self) -> None:
        """Take no calls until `resume`; those under way go on. Raises AgentUnavailable if it is not up."""
        if not self._state.available:
            raise unavailable(self)
        self._orders.paused = True
        self._become(State.PAUSED, PAUSED)

    def resume(self) -> None:
        """Take calls again, now or when it is up again. Raises AgentUnavailable if it was not paused."""
        if not self._orders.paused:
            raise AgentUnavailable(f"agent {self.name!r} is {self._state.value}, not paused")
        self._orders.paused = False
        if self._state is State.PAUSED:
            busy = self._lives.life is not None and self._lives.life.pool.active
            self._become(State.BUSY if busy else State.IDLE)

    def restart(self) -> None:
        """End this life, letting its calls finish within `shutdown`, and begin another one.

        Calls that wait for a worker are refused: they never began. A failed agent tries again at once; one
        that was drained starts again. Raises AgentUnavailable for a singleton that another node runs.
        """
        if self._orders.standby:
            raise AgentUnavailable(
                f"agent {self.name!r} is a singleton: {self._orders.standby}",
                data={"agent": self.name},
            )
        self._orders.restart = True
        self._orders.drain_by = None
        self._lives.heed()

    def crash(self, reason: str) -> None:
        """Have its life fail now, as if by itself: calls under way are lost, and it is tried again.

        Raises AgentUnavailable if it is not up.
        """
        if self._lives.life is None:
            raise unavailable(self)
        self._orders.crash = reason
        self._lives.nudge()

    async def drain(self, seconds: float) -> bool:
        """Take no more calls, let those accepted end within `seconds`, stop; whether all of them ended.

        It stays stopped until `restart`; one that comes before it has stopped ends the drain.
        """
        orders = self._orders
        orders.drain_by = trio.current_time() + seconds
        self._lives.heed()
        before = self.tally.came[Came.LOST]
        while self._state is not State.STOPPED and orders.stops:
            await self._moves()
        return orders.stops and self.tally.came[Came.LOST] == before

    def take_over(self, fence: int) -> None:
        """Run here from now on: a singleton whose lease this node holds, under this number."""
        orders = self._orders
        self.fence = fence
        orders.restart = not orders.undecided
        orders.undecided, orders.standby, orders.drain_by = False, "", None
        self._lives.heed()

    async def stand_by(self, reason: str, seconds: float = 0.0) -> None:
        """Stop, and stay so until `take_over`; calls under way have so many seconds to end."""
        orders = self._orders
        if orders.standby == reason:
            return
        was, orders.standby = orders.standby, reason
        orders.restart = orders.undecided = False
        if was:
            self._reason = reason
            self._changed(self)
            return
        await self.drain(seconds)
        self.fence = 0

    async def stop(self) -> bool:
        """Drain within the settings' `shutdown`."""
        return await self.drain(self.settings.shutdown)

    def nudge(self) -> None:
        """Something happened that `live` must look at."""
        self._lives.nudge()

    def _stir(self, state: State, now: float) -> None:
        """Go from idle to busy, or back: with each call, so nothing more is done than must be."""
        old, self._state, self._since = self._state, state, now
        if self._moved is not None:
            self._moved.set()
            self._moved = None
        if self._watchers.curious:
            self._watchers.stirred(self.name, old, state, now)

    def _become(self, state: State, reason: str = "") -> None:
        """Any other change of the state."""
        old = self._state
        if state is old:
            return
        if state not in FOLLOWS[old]:
            raise RuntimeError(f"agent {self.name!r} cannot go from {old.value} to {state.value}")
        self._reason = reason
        if old.available and state.available:
            self._stir(state, trio.current_time())
            return
        self._state = state
        self._since = trio.current_time()
        if self._moved is not None:
            self._moved.set()
            self._moved = None
        self._changed(self)
        self._log(state, reason)
        self._watchers.emit(StateChanged(self.name, old, state, reason, self._since))
        if (old in LISTED) != (state in LISTED):
            self._catalog_changed(EMPTY)

    def _log(self, state: State, reason: str) -> None:
        """A line for what a person would act on; that a first life begins and ends goes without saying."""
        level = logging.DEBUG
        if state is State.FAILED:
            level = logging.WARNING
        elif reason or (state is State.IDLE and self.tally.lives > 1):
            level = logging.INFO
        logger.log(
            level, "agent %s is %s%s", self.name, state.value, f": {reason}" if reason else ""
        )

    async def live(self, stop: trio.Event, *, task_status: trio.TaskStatus[Agent]) -> None:
        """Be: one life after another until `stop` is set."""
        task_status.started(self)
        await self._lives.run(stop)

    # ---- what a life tells (`flowcore.agents.incarnation.Whole`)

    def announced(self, catalog: Catalog) -> None:
        """This is what the agent offers now."""
        old = self._catalog
        if catalog is old or (catalog == old and old is not EMPTY):
            return
        self._catalog = catalog
        self._changed(self)
        if self._state in LISTED:
            self._catalog_changed(old)

    def _catalog_changed(self, old: Catalog) -> None:
        new = self._catalog
        event = CatalogChanged(
            self.name,
            tools=new.tools != old.tools,
            resources=(new.resources, new.templates) != (old.resources, old.templates),
            prompts=new.prompts != old.prompts,
        )
        if event.tools or event.resources or event.prompts:
            self._watchers.emit(event)

    def at_rest(self, now: float) -> None:
        """No call is under way any more."""
        life = self._lives.life
        if life is None or life.pool.active or life.pool.waiting:
            return  # it was a call of an earlier life, or one that waited
        if self._state is _BUSY:
            self._stir(_IDLE, now)
        elif self._state is State.DRAINING:
            self.nudge()

    def notified(self, method: str, params: Raw, audience: Principal | None) -> None:
        """Something happened outside any call; `audience` is whom alone it is for."""
        self._watchers.emit(Notification(self.name, method, params, audience))

    def wrote(self, worker: str, line: str) -> None:
        """A line of a worker's stderr."""
        self._stderr.append(f"{worker}: {line}")

    def late(self) -> None:
        """An answer came that nobody waits for any more."""
        self.tally.late += 1
        self._late()


def _unheard() -> None:
    """Nobody else counts."""


@asynccontextmanager
async def open_agent(
    name: str,
    settings: AgentSettings,
    open_source: OpenSource,
    open_balancer: OpenBalancer,
    *,
    chance: random.Random,
    watchers: Watchers,
    changed: Callable[[Agent], None],
    late: Callable[[], None] = _unheard,
) -> AsyncGenerator[Agent]:
    """An agent that lives while the block does. It starts in the background: entering never waits.

    Leaving lets accepted calls end within the settings' `shutdown`, then stops its workers, all at once.
    `watchers` are told every event; `changed` is called when what it offers, or whether it does, changes.
    `late` with each answer that comes when nobody waits for it any more. Neither may block or raise.
    """
    agent = Agent(name, settings, open_source, open_balancer, chance, watchers, changed, late)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.live, stop)
        try:
            yield agent
        finally:
            stop.set()
