"""An agent that runs at one node at a time: whoever holds its lease.

The lease is the state's (`flowcore.state.leases`); its fence goes with each call, so that what the agent acts
upon can refuse an older one. A node that cannot renew stops the agent by its own clock before the lease is
over, and only then can another one have it (Gray and Cheriton, "Leases", 1989). The time of the state runs at
most a tenth faster than its own (`flowcore.state.clock`), and the rest that it allows for is a quarter.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from flowcore.agents import State as AgentState
from flowcore.durable.asking import PASSING
from flowcore.durable.holders import node_of
from flowcore.errors import CallError, VersionConflict
from flowcore.state import (
    AcquireLease,
    Command,
    DeclareLost,
    LeaseTold,
    ReleaseLease,
    RenewLease,
    State,
    Tidy,
)

logger = logging.getLogger(__name__)


_LONGEST = 60.0
"""Seconds at most until an agent that fails is tried here again."""


class Runs(Protocol):
    """The agent, as whoever starts and stops it sees it."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> AgentState: ...
    def take_over(self, fence: int) -> None: ...
    async def stand_by(self, reason: str, seconds: float = 0.0) -> None: ...
    async def wait_until(self, *states: AgentState) -> AgentState: ...


class Single:
    """Keeps one agent where its lease is."""

    def __init__(
        self, agent: Runs, state: State, holder: str, seconds: float, chance: random.Random
    ) -> None:
        """The lease holds for `seconds` from each time it is renewed."""
        self._agent = agent
        self._state = state
        self._holder = holder
        self._seconds = seconds
        self._random = chance
        self._freed = trio.Event()
        self._failures = 0
        self.fence = 0
        """Under which it is held here; 0: it is not."""
        self.node = ""
        """The node that holds it, as far as is known."""

    @property
    def name(self) -> str:
        """The name of the lease."""
        return f"agent/{self._agent.name}"

    async def run(self) -> None:
        """Try to hold the lease, and hold it, until cancelled."""
        while True:
            asked = trio.current_time()
            try:
                told: LeaseTold = await self._state.do(
                    AcquireLease(name=self.name, holder=self._holder, seconds=self._seconds)
                )
            except PASSING as error:
                logger.debug("the lease of %s cannot be had now: %s", self._agent.name, error)
                await trio.sleep(self._random.uniform(0.1, 0.2) * self._seconds)
                continue
            self.node = node_of(told.holder)
            if told.held:
                await self._hold(told.fence, asked)
            else:
                await self._agent.stand_by(f"it runs at node {self.node}")
                await self._wait()

    async def _wait(self) -> None:
        """Until the lease may be free: somebody says so, or it should have been renewed."""
        self._freed = trio.Event()
        with trio.move_on_after(self._seconds * self._random.uniform(0.9, 1.1)):
            await self._freed.wait()

    def heard(self, command: Command | None) -> None:
        """A command was applied here: after some of them the lease may be free."""
        match command:
            case ReleaseLease():
                if command.name == self.name:
                    self._freed.set()
            case DeclareLost() | Tidy() | None:
                if node_of(self._holder) != self.node:
                    self._freed.set()

    async def _hold(self, fence: int, asked: float) -> None:
        """Have the agent run here as long as the lease is renewed."""
        self.fence = fence
        logger.info("agent %s runs here, under fence %d", self._agent.name, fence)
        self._agent.take_over(fence)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_up_failed, nursery.cancel_scope)
                await self._renew(fence, asked)
                nursery.cancel_scope.cancel()
        finally:
            self.fence = 0
            failed = self._agent.state is AgentState.FAILED
            with trio.CancelScope(shield=True):
                await self._agent.stand_by("its lease is over")
        await self.release(fence)
        # others first; one that fails everywhere fails less and less often
        self._failures = self._failures + 1 if failed else 0
        longest = min(_LONGEST, self._seconds * 2 ** min(self._failures, 10))
        await trio.sleep(longest * self._random.uniform(0.2, 0.4))

    async def _renew(self, fence: int, asked: float) -> None:
        """Until the lease is lost, or might be."""
        until = asked + 0.75 * self._seconds  # the rest is for stopping
        while True:
            await trio.sleep_until(min(until, trio.current_time() + self._seconds / 4))
            asked = trio.current_time()
            if asked >= until:
                logger.warning("the lease of agent %s was not renewed in time", self._agent.name)
                return
            with trio.move_on_at(until):
                try:
                    await self._state.do(
                        RenewLease(name=self.name, fence=fence, seconds=self._seconds)
                    )
                    until = asked + 0.75 * self._seconds
                except VersionConflict:
                    logger.warning("the lease of agent %s is lost", self._agent.name)
                    return
                except PASSING as error:
                    logger.debug("a lease is not renewed: %s", error)

    async def _give_up_failed(self, scope: trio.CancelScope) -> None:
        """An agent that fails here may do better at another node."""
        await self._agent.wait_until(AgentState.FAILED)
        logger.warning("agent %s fails here: its lease is for others", self._agent.name)
        scope.cancel()

    async def release(self, fence: int) -> None:
        """Let others have it at once."""
        with trio.move_on_after(self._seconds):
            try:
                await self._state.do(ReleaseLease(name=self.name, fence=fence))
            except CallError as error:
                logger.debug("a lease goes by itself: %s", error)

    def status(self) -> dict[str, Any]:
        """Who has it, as far as is known here."""
        return {"lease": self.name, "node": self.node, "fence": self.fence}


@asynccontextmanager
async def open_single(
    agent: Runs,
    state: State,
    holder: str,
    *,
    seconds: float,
    shutdown: float,
    chance: random.Random,
) -> AsyncGenerator[Single]:
    """Run an agent here while this node holds its lease, as long as the block lasts.

    When it is left, the agent's calls have `shutdown` seconds to end; then the lease is free for others.
    """
    single = Single(agent, state, holder, seconds, chance)
    stop = state.watch_work(single.heard)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(single.run)
            try:
                yield single
            finally:
                fence = single.fence
                if fence:
                    with trio.move_on_after(min(shutdown, 0.5 * seconds), shield=True):
                        await agent.stand_by("the node is being stopped", shutdown)
                nursery.cancel_scope.cancel()
    finally:
        stop()
    if fence:
        await single.release(fence)
