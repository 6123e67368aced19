"""Which resources somebody here wants to hear of, kept subscribed at the agents that have them."""

from __future__ import annotations

import logging

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.sight import Sight
from flowcore.errors import CallError, InvalidArguments, UnknownTarget
from flowcore.interfaces import Host
from flowcore.requests import ANONYMOUS, Envelope, Principal

logger = logging.getLogger(__name__)

_WITHIN = 30.0
"""How long an agent may take to subscribe, in seconds."""


@attrs.define(eq=False)
class _Interest:
    uri: str
    agent: str
    principal: Principal
    """Who wanted it first: the agent is asked in this name."""
    holders: int = 0
    subscribed: bool = False
    turn: trio.StrictFIFOLock = attrs.field(factory=trio.StrictFIFOLock)


class Interests:
    """Subscriptions shared by all clients of an edge: the first holder subscribes, the last ends it."""

    def __init__(self, host: Host, sight: Sight, nursery: trio.Nursery) -> None:
        self._sight = sight
        self._host = host
        self._nursery = nursery
        self._interests: dict[str, _Interest] = {}

    def check(self, uri: str, principal: Principal) -> None:
        """Raises CallError if nobody has the resource, or its agent does not announce changes, or this
        principal is not shown it."""
        agent = self._agent_of(uri)
        if not self._sight.shows_name(principal, agent, "resources", uri):
            raise UnknownTarget("resource not found", data={"uri": uri})

    async def hold(self, uri: str, principal: Principal = ANONYMOUS) -> None:
        """Be told of changes of a resource, in the name of a principal.

        Each `hold` that returns needs one `release`.

        Raises CallError if nobody has it, or its agent does not announce changes or refuses.
        """
        interest = self._interests.get(uri)
        if interest is None:
            interest = _Interest(uri, self._agent_of(uri), principal)
            self._interests[uri] = interest
        interest.holders += 1
        try:
            await self._settle(interest)
        except BaseException:
            self.release(uri)
            raise

    def release(self, uri: str) -> None:
        """Be told no more, as far as one holder goes."""
        interest = self._interests[uri]
        interest.holders -= 1
        if not interest.holders:
            self._nursery.start_soon(self._settle_quietly, interest)

    def renew(self, agent: str) -> None:
        """The agent came back, or is had elsewhere: it knows nothing of what it was asked before.

        While it is not to be had it is not asked; it is when it comes.
        """
        for interest in self._interests.values():
            if interest.agent == agent:
                interest.subscribed = False
                if _held(interest) and self._available(agent):
                    self._nursery.start_soon(self._settle_quietly, interest)

    def _available(self, agent: str) -> bool:
        try:
            return self._host.directory.by_name(agent).state.available
        except CallError:
            return False  # it was taken away

    def _agent_of(self, uri: str) -> str:
        agent = self._host.directory.resolve("resources", uri).agent
        if not self._host.directory.by_name(agent).catalog.subscriptions:
            raise InvalidArguments(
                f"agent {agent!r} does not announce changes of its resources", data={"uri": uri}
            )
        return agent

    async def _settle(self, interest: _Interest) -> None:
        """Make what the agent was told agree with whether anybody holds on. One at a time for each."""
        async with interest.turn:
            if _held(interest) and not interest.subscribed:
                await self._tell(interest, "resources/subscribe")
                interest.subscribed = True
            elif not _held(interest):
                if interest.subscribed:
                    interest.subscribed = False
                    await self._tell(interest, "resources/unsubscribe")
                if not _held(interest):  # nobody came while the agent was told
                    self._interests.pop(interest.uri, None)

    async def _settle_quietly(self, interest: _Interest) -> None:
        try:
            await self._settle(interest)
        except CallError as error:
            logger.warning("resource %s at agent %s: %s", interest.uri, interest.agent, error)

    async def _tell(self, interest: _Interest, method: str) -> None:
        await self._host.submit(
            Envelope(
                method=method,
                agent=interest.agent,
                name=interest.uri,
                principal=interest.principal,
                edge=self._sight.edge,
                params={"uri": Raw(msgspec.json.encode(interest.uri))},
                deadline=trio.current_time() + _WITHIN,
            )
        )


def _held(interest: _Interest) -> bool:
    return interest.holders > 0
