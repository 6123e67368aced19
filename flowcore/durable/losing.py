"""Who is lost with what it held: earlier lives of this node, and nodes that the swarm has lost."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping

import trio

from flowcore.durable.asking import PASSING, Patience
from flowcore.durable.holders import node_of
from flowcore.state import DeclareLost, State
from flowcore.swarm import Member

logger = logging.getLogger(__name__)

SPREAD = 0.3
"""Seconds over which the nodes that see another one die spread what they say of it: one is enough."""


class Losing:
    """Declares holders lost."""

    def __init__(
        self,
        state: State,
        holder: str,
        nursery: trio.Nursery,
        members: Callable[[], Mapping[str, Member]],
        chance: random.Random,
    ) -> None:
        """`members` gives whom the swarm knows, by name."""
        self._state = state
        self._holder = holder
        self._nursery = nursery
        self._members = members
        self._random = chance
        self._about: set[str] = set()
        self.declared = 0

    async def earlier_lives(self) -> None:
        """Whatever earlier lives of this node held is lost: it is one process at a time."""
        await self._declare(node_of(self._holder), self._is_earlier)

    def _is_earlier(self, holder: str) -> bool:
        return holder != self._holder

    def member(self, member: Member) -> None:
        """Something about a member is another."""
        if member.state.present or member.name == node_of(self._holder):
            return
        if member.name not in self._about:
            self._about.add(member.name)
            self._nursery.start_soon(self._member, member.name)

    async def _member(self, name: str) -> None:
        try:
            await trio.sleep(self._random.uniform(0, SPREAD))
            # its leases go when their time is over: it may be there, and go by them, and only not be seen
            await self._declare(name, lambda holder: self._is_gone(name), leases=False)
        finally:
            self._about.discard(name)

    def _is_gone(self, name: str) -> bool:
        member = self._members().get(name)
        return member is None or not member.state.present

    async def _declare(
        self, node: str, meant: Callable[[str], bool], *, leases: bool = True
    ) -> None:
        for holder in await self._state.holders():
            if node_of(holder) != node:
                continue
            patience = Patience()
            while meant(holder):
                try:
                    told = await self._state.do(DeclareLost(holder, leases))
                except PASSING as error:
                    await patience.wait(error)
                    continue
                self.declared += 1
                if told.tasks or told.keys or told.leases:
                    logger.warning(
                        "%s is lost: %d tasks, %d keys and %d leases that it held are not its any more",
                        holder,
                        told.tasks,
                        told.keys,
                        told.leases,
                    )
                if told.complete:
                    break
