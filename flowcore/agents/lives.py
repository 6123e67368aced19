"""The lives of an agent: one after another, with back-off after a failed one, until it is told to end."""

from __future__ import annotations

import logging
import math
import random
from typing import Protocol

import trio

from flowcore.agents.directory import unavailable
from flowcore.agents.incarnation import (
    Incarnation,
    OpenBalancer,
    OpenSource,
    Whole,
    open_incarnation,
)
from flowcore.agents.members import Member
from flowcore.agents.orders import PAUSED, Orders
from flowcore.agents.reasons import reason_of
from flowcore.agents.settings import AgentSettings
from flowcore.agents.state import State
from flowcore.agents.worker import WorkerLost

logger = logging.getLogger(__name__)


class Living(Whole, Member, Protocol):
    """The agent whose lives these are."""

    @property
    def settings(self) -> AgentSettings: ...


class Become(Protocol):
    """Changes the agent's state."""

    def __call__(self, state: State, reason: str = "") -> None: ...


class Lives:
    """What an agent is living now, and what it was told to do with that."""

    def __init__(
        self,
        agent: Living,
        become: Become,
        open_source: OpenSource,
        open_balancer: OpenBalancer,
        chance: random.Random,
    ) -> None:
        self.life: Incarnation | None = None
        """The one that takes calls, from its opening to its end."""
        self.orders = Orders()
        self.next_try: float | None = None
        """When the next one begins, on trio's clock, where the last has failed."""
        self._agent = agent
        self._become = become
        self._open_source = open_source
        self._open_balancer = open_balancer
        self._random = chance
        self._opening: trio.CancelScope | None = None
        self._nudged = trio.Event()

    def heed(self) -> None:
        """Orders have changed: look at them, also while the source is opening."""
        if self._opening is not None:
            self._opening.cancel()
        self.nudge()

    def nudge(self) -> None:
        """Something happened that must be looked at."""
        self._nudged.set()

    async def _nudge_comes(self) -> None:
        await self._nudged.wait()
        self._nudged = trio.Event()

    async def run(self, stop: trio.Event) -> None:
        """Live until `stop` is set."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_on, stop)
                await self._one_after_another()
                nursery.cancel_scope.cancel()
        finally:
            if self._agent.state not in (State.DRAINING, State.STOPPED):
                self._become(State.DRAINING)
            self._become(State.STOPPED)

    async def _end_on(self, stop: trio.Event) -> None:
        await stop.wait()
        self.orders.end = True
        self.orders.drain_by = trio.current_time() + self._agent.settings.shutdown
        self.heed()

    async def _one_after_another(self) -> None:
        failures = 0
        while self.orders.undecided and not self.orders.end:
            await self._nudge_comes()
        while not self.orders.end:
            if self.orders.stops:
                await self._stopped()
                continue
            began = trio.current_time()
            self.orders.restart = False
            error = await self._one_life()
            if self.orders.any:
                failures = 0
                if self.orders.restart:
                    self._start_again()
            elif error is not None:
                if trio.current_time() - began > self._agent.settings.restart.period:
                    failures = 0
                await self._fail(error, failures)
                failures += 1

    async def _stopped(self) -> None:
        """Drained: be stopped until told to start again, or to end."""
        if self._agent.state is not State.DRAINING:
            self._become(State.DRAINING)
        self._become(State.STOPPED, self.orders.standby)
        while not (self.orders.end or self.orders.restart):
            await self._nudge_comes()
        if self.orders.restart:
            self._start_again()

    def _start_again(self) -> None:
        if self._agent.state is State.DRAINING:
            self._become(State.STOPPED)
        self._become(State.STARTING, "restarting")

    async def _fail(self, error: Exception, failures: int) -> None:
        """Be failed for a while, with jitter so that agents that failed together do not return together."""
        self._become(State.FAILED, reason_of(error))
        settings = self._agent.settings.restart
        longest = min(settings.cap, settings.base * settings.factor ** min(failures, 64))
        again = self.next_try = trio.current_time() + longest * self._random.uniform(0.5, 1.0)
        while not self.orders.any and trio.current_time() < again:
            with trio.move_on_at(again):
                await self._nudge_comes()
        self.next_try = None
        if not self.orders.end and not self.orders.stops:
            self._become(State.STARTING, f"trying again after: {reason_of(error)}")

    async def _one_life(self) -> Exception | None:
        """From opening the source to closing it; what it failed of, None if it was told to end."""
        self._agent.tally.lives += 1
        settings = self._agent.settings
        opened = False
        failure: Exception | None = None
        timeout = settings.pool.start_timeout
        try:
            with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
                self._opening = scope
                async with open_incarnation(
                    self._agent, settings, self._open_source, self._open_balancer
                ) as life:
                    self._opening = None
                    opened = True
                    scope.deadline = math.inf
                    failure = await self._live_through(life)
                    scope.deadline = trio.current_time() + life.closing
        except Exception as error:
            logger.debug("agent %s did not open", self._agent.name, exc_info=error)
            return failure or error
        finally:
            self._opening = None
        if scope.cancelled_caught:
            if opened:
                logger.warning("agent %s took too long to close and was cut off", self._agent.name)
            elif not self.orders.any:
                return WorkerLost(f"agent {self._agent.name} was not open within {timeout:g} s")
        return failure

    async def _live_through(self, life: Incarnation) -> Exception | None:
        """Take calls from the first worker's being up until the life fails or is told to end."""
        self.life = life
        try:
            while not (life.ready or life.failure or self.orders.any):
                await self._nudge_comes()
            if life.ready and not self.orders.any:
                if self.orders.paused:
                    self._become(State.PAUSED, PAUSED)
                else:
                    self._become(State.IDLE)
            while not (life.failure or self.orders.any):
                await self._nudge_comes()
                if self.orders.crash:
                    life.fail(WorkerLost(self.orders.crash))
                    self.orders.crash = ""
            await self._wind_down(life)
        finally:
            life.pool.refuse_all(lambda: unavailable(self._agent))
            self.life = None
        return life.failure

    async def _wind_down(self, life: Incarnation) -> None:
        if life.failure is not None:
            self._become(State.FAILED, reason_of(life.failure))
        elif not self.orders.stops:
            self._become(State.STARTING, "restarting")
        else:
            self._become(State.DRAINING)
            await self._accepted_end(life)
        life.pool.refuse_all(lambda: unavailable(self._agent))
        await life.wind_down()

    async def _accepted_end(self, life: Incarnation) -> None:
        """Wait until no call runs or waits, or the time for that is over."""
        pool = life.pool
        while (pool.active or pool.waiting) and life.failure is None:
            by = self.orders.drain_by
            if by is None:  # to be restarted: those under way have the usual time
                return
            if trio.current_time() >= by:
                break
            with trio.move_on_at(by):
                await self._nudge_comes()
        life.grace = 0.0
