"""What this node tells of its own agents: an announcement, under a version that grows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flowcore.agents import Agent, Catalog
from flowcore.errors import StreamBroken
from flowcore.federation.wire import (
    About,
    AgentNews,
    Announcement,
    Asking,
    WrongMessage,
    pack,
    pack_catalog,
    unpack,
)
from flowcore.swarm import MOST_ABOUT, Lane, Overlay, Stream, receive_whole, send_whole

logger = logging.getLogger(__name__)

DIRECTORY = "directory"
"""The service by which a node is asked what it has, and the topic by which it says that this has changed."""
_MOST_ASKING = 64 * 1024


class Announcing:
    """What this node has, as others may know it."""

    def __init__(
        self,
        overlay: Overlay,
        *,
        local: Mapping[str, Agent],
        apart: frozenset[str],
        type_of: Callable[[str], str],
        tell: Callable[[bytes], None],
        boot: int,
    ) -> None:
        """`apart` are the agents that each node has for itself; `tell` says it to gossip."""
        self.version = 0
        self._overlay = overlay
        self._local = local
        self._apart = apart
        self._type_of = type_of
        self._tell = tell
        self._boot = boot
        self._draining = False
        self._said: tuple[AgentNews, ...] = ()
        self._about = b""
        self._packed: dict[bytes, bytes] = {}
        self._digests: dict[str, tuple[Catalog, bytes]] = {}

    def look(self) -> None:
        """What the own agents are now; a new version if that is not what was announced."""
        news = tuple(
            self._news(agent)
            for name, agent in sorted(self._local.items())
            if name not in self._apart
        )
        if news != self._said or not self.version:
            self._said = news
            self.version += 1
            kept = {one.catalog for one in news}
            self._packed = {key: one for key, one in self._packed.items() if key in kept}

    def _news(self, agent: Agent) -> AgentNews:
        settings = agent.settings
        return AgentNews(
            name=agent.name,
            # with each call it is busy, and idle again: that is told by its load
            state="idle" if agent.state.available else agent.state.value,
            catalog=self._digest(agent),
            reason=agent.reason,
            description=settings.description,
            type=self._type_of(agent.name),
            roles=tuple(sorted(agent.roles)),
            capabilities=tuple(sorted(agent.capabilities)),
            topics=settings.topics,
            bare=agent.bare,
            deadline=settings.deadline,
            size=agent.size,
        )

    def _digest(self, agent: Agent) -> bytes:
        known = self._digests.get(agent.name)
        if known is None or known[0] is not agent.catalog:
            packed, digest = pack_catalog(agent.catalog)
            self._packed[digest] = packed
            known = self._digests[agent.name] = (agent.catalog, digest)
        return known[1]

    def drain(self) -> None:
        """Tell the others that this node takes nothing more."""
        self._draining = True
        self.say()

    def say(self) -> None:
        """Tell it to gossip, and to everybody who can be reached, where it is new."""
        loads = bytes(
            round(255 * min(1.0, self._local[one.name].load)) if one.name in self._local else 0
            for one in self._said[: MOST_ABOUT - 64]
        )
        about = pack(About(self._boot, self.version, self._draining, loads))
        if about == self._about:
            return
        before, self._about = self._about, about
        self._tell(about)
        if _told(before) != _told(about):  # not of each change of the loads
            for node in self._overlay.reachable():
                self._overlay.post(node, DIRECTORY, about, Lane.GOSSIP)

    async def answer(self, node: str, head: bytes, stream: Stream) -> None:
        """Tell another node what this one has: the handler of a stream, whose head says nothing."""
        del head
        try:
            async with stream:
                await self._answer(node, stream)
        except StreamBroken as error:
            logger.debug("node %s wants to know no more what is here: %s", node, error)

    async def _answer(self, node: str, stream: Stream) -> None:
        try:
            asking = unpack(await receive_whole(stream, _MOST_ASKING), Asking)
        except WrongMessage as error:
            logger.warning("node %s asked what is here, wrongly: %s", node, error)
            stream.reset(str(error))
            return
        if not self.version:
            self.look()
        known = set(asking.known)
        catalogs = {
            one.catalog: self._packed[one.catalog] for one in self._said if one.catalog not in known
        }
        told = Announcement(self._overlay.name, self._boot, self.version, self._said, catalogs)
        await send_whole(stream, pack(told))


def _told(about: bytes) -> bytes:
    """What of it others are told at once."""
    if not about:
        return b""
    one = unpack(about, About)
    return pack((one.boot, one.version, one.draining))
