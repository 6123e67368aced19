"""A node's part in what outlives it, open: keys, tasks, who is lost, what is revoked."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import trio

from flowcore.durable.answering import SERVICE, Answering
from flowcore.durable.keys import StateKeys
from flowcore.durable.losing import Losing
from flowcore.durable.revocations import Revocations
from flowcore.durable.tasks import StateTasks
from flowcore.errors import CallError
from flowcore.requests import Doer, Requests
from flowcore.state import DeclareLost, State
from flowcore.swarm import Member, Overlay

FAREWELL = 2.0
"""Seconds that a node which is being stopped has to say what it leaves to others."""


class Members(Protocol):
    """Whom a node knows: a swarm."""

    @property
    def overlay(self) -> Overlay: ...
    def members(self) -> Mapping[str, Member]: ...
    def watch(self, told: Callable[[Member], None]) -> Callable[[], None]: ...


class Durable:
    """Made by `open_durable`."""

    def __init__(
        self,
        state: State,
        holder: str,
        keys: StateKeys | None,
        tasks: StateTasks | None,
        losing: Losing,
        revoked: Revocations,
    ) -> None:
        self.holder = holder
        self._state = state
        self._keys = keys
        self._tasks = tasks
        self._losing = losing
        self._revoked = revoked
        self._left = False

    @property
    def enabled(self) -> bool:
        """Whether tasks and keys outlive this node."""
        return self._tasks is not None

    async def leave(self) -> None:
        """Leave to others what is not done yet: what may be repeated waits again, all else is unknown."""
        if self._left or self._tasks is None:
            return
        self._left = True
        held = self._tasks.claims
        self._tasks.leave()
        if held:
            with trio.move_on_after(FAREWELL):
                try:
                    await self._state.do(DeclareLost(self.holder, leases=False))
                except CallError:
                    return  # its next life, or the others, will

    def status(self) -> dict[str, Any]:
        """What it holds and did, measured."""
        keys, tasks = self._keys, self._tasks
        return {
            "enabled": self.enabled,
            "holder": self.holder,
            "tasks": 0 if tasks is None else tasks.claims,
            "kept": 0 if tasks is None else tasks.kept,
            "resumed": 0 if tasks is None else tasks.resumed,
            "lost": 0 if tasks is None else tasks.lost,
            "reserved": 0 if keys is None else keys.reserved,
            "replayed": 0 if keys is None else keys.replayed,
            "joined": 0 if keys is None else keys.joined,
            "settling": 0 if keys is None else keys.settling,
            "declared_lost": self._losing.declared,
            "revoked": len(self._revoked),
        }


@asynccontextmanager
async def open_durable(
    state: State,
    requests: Requests,
    *,
    holder: str,
    doers: Mapping[str, Doer],
    swarm: Members | None,
    revoked: Revocations,
    draining: Callable[[], bool],
    chance: random.Random,
) -> AsyncGenerator[Durable]:
    """Have what requests leave kept in the state, where that is durable, as long as the block lasts."""
    enabled = state.durable and requests.settings.durable.enabled
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        keys = tasks = None
        members = swarm.members if swarm is not None else dict
        losing = Losing(state, holder, nursery, members, chance)
        stack.callback(state.watch_work(revoked.heard))
        await revoked.load(state)
        nursery.start_soon(revoked.follow, state)
        if enabled:
            keys = StateKeys(state, holder, lambda: requests.settings, nursery)
            tasks = StateTasks(state, holder, requests, doers, nursery, draining)
            stack.callback(state.watch_work(keys.heard))
            stack.callback(state.watch_work(tasks.heard))
            nursery.start_soon(losing.earlier_lives)
            if swarm is not None:
                stack.callback(swarm.watch(losing.member))
                tasks.answering = answering = Answering(swarm.overlay, requests.tasks)
                serving = swarm.overlay.serve(SERVICE, answering.serve)
                await stack.enter_async_context(serving)
            nursery.start_soon(tasks.run)
            requests.shared, requests.tasks.keeper = keys, tasks
        durable = Durable(state, holder, keys, tasks, losing, revoked)
        try:
            yield durable
        finally:
            requests.shared = requests.tasks.keeper = None
            await durable.leave()
            if keys is not None:
                await keys.drain(FAREWELL)
            nursery.cancel_scope.cancel()
