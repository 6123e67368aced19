"""The agents of all nodes in one directory: what this node tells of its own, what it knows of others'.

Each node announces its agents under a version that grows. The version travels with gossip, and at once to
every node that can be reached; who sees a newer one than it has fetches the announcement, and those of the
catalogs that it does not know yet. So nothing large is gossiped, and a lost word costs one round of gossip.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio

from flowcore.agents import (
    Agent,
    Catalog,
    Directory,
    Watchers,
)
from flowcore.envelope import Envelope, Reply
from flowcore.errors import SwarmError
from flowcore.federation.announcing import DIRECTORY, Announcing
from flowcore.federation.events import Telling
from flowcore.federation.forwarding import SERVICE, Forwarding
from flowcore.federation.looking import SERVICE as AGENTS
from flowcore.federation.looking import Looking, Showing
from flowcore.federation.placed import Placed
from flowcore.federation.places import Offered, Place
from flowcore.federation.serving import Serving
from flowcore.federation.traces import SERVICE as TRACES
from flowcore.federation.traces import Gathering
from flowcore.federation.wire import (
    About,
    AgentNews,
    Announcement,
    Asking,
    WrongMessage,
    pack,
    state_of,
    unpack,
    unpack_catalog,
)
from flowcore.resilience import Breaker, BreakerSet, BreakerState
from flowcore.swarm import (
    Lane,
    Member,
    MemberState,
    Overlay,
    receive_whole,
    send_whole,
)
from flowcore.swarm.settings import FederationSettings
from flowcore.telemetry import Telemetry

logger = logging.getLogger(__name__)

FETCH = 10.0
"""Seconds after which a fetch is given up, and tried again."""
_MOST_KNOWN = 1000
_SECOND_THOUGHT = 0.5
"""Seconds between a failed fetch and the next one, at least; drawn up to twice of it."""


@attrs.define(eq=False)
class _Node:
    """What is known of another node's agents."""

    name: str
    boot: int = 0
    version: int = 0
    wanted: tuple[int, int] = (0, 0)
    """The newest boot and version that was heard of."""
    draining: bool = False
    agents: tuple[AgentNews, ...] = ()
    fetching: bool = False
    gone: str = ""
    back: bool = False
    """Whether it was gone, and nobody was told yet what it has now."""


class Federation:
    """Made by `open_federation`."""

    def __init__(
        self,
        overlay: Overlay,
        settings: FederationSettings,
        *,
        directory: Directory,
        local: Mapping[str, Agent],
        apart: frozenset[str],
        type_of: Callable[[str], str],
        submit: Callable[[Envelope], Awaitable[Reply]],
        seat: Callable[[str], None],
        tell: Callable[[bytes], None],
        known: Callable[[], Iterable[str]],
        watchers: Watchers,
        chance: random.Random,
        boot: int,
        telemetry: Telemetry | None = None,
        rows: Callable[[], Iterator[Mapping[str, Any]]] = lambda: iter(()),
    ) -> None:
        """`apart` are the agents that each node has for itself; `seat` is called with the name of an agent
        that is to be looked up anew; `tell` says to gossip what this node tells of itself; `known` gives the
        names of all members; `rows` the status of each agent here."""
        self.overlay = overlay
        self.settings = settings
        self.placed: dict[str, Placed] = {}
        self._directory = directory
        self._apart = apart
        self._seat = seat
        self._known = known
        self._chance = chance
        self._announcing = Announcing(
            overlay, local=local, apart=apart, type_of=type_of, tell=tell, boot=boot
        )
        self._nodes: dict[str, _Node] = {}
        self._catalogs: dict[bytes, Catalog] = {}
        self._nursery: trio.Nursery | None = None
        self._breakers = BreakerSet(settings.breaker, changed=self._node_breaker)
        self.forwarding = Forwarding(overlay, lambda: settings.largest)
        tracer = None if telemetry is None else telemetry.tracer
        self.serving = Serving(overlay.name, submit, lambda: settings.largest, tracer)
        self.traces = Gathering(
            overlay, lambda id_: [] if telemetry is None else telemetry.spans(id_)
        )
        self.events = Telling(overlay, watchers, apart)
        self.showing = Showing(boot, rows, apart)
        self.looking = Looking(overlay, lambda: settings.largest)
        self.fetches = self.failed_fetches = 0

    @property
    def node(self) -> str:
        """This node's name."""
        return self.overlay.name

    # ---- one agent, wherever it is

    def of(self, name: str) -> Placed | None:
        """The agent of a name, as the swarm has it; None for one that each node has for itself, or nobody."""
        return self.placed.get(name)

    def take(self, name: str, agent: Agent | None) -> None:
        """This is the agent of the name here now; None: there is none any more."""
        if name in self._apart:
            return
        placed = self.placed.get(name)
        if placed is None:
            if agent is None:
                return
            placed = self._make(name)
        placed.local = agent
        if agent is None and not placed.places:
            del self.placed[name]
        self._seat(name)

    def _make(self, name: str) -> Placed:
        placed = Placed(name, self.node, self.forwarding.forward, self._breaker, self._chance)
        self.placed[name] = placed
        return placed

    def _breaker(self, node: str) -> Breaker:
        return self._breakers.add(node, trio.current_time())

    def _node_breaker(self, node: str, old: BreakerState, new: BreakerState, reason: str) -> None:
        logger.warning(
            "the breaker of node %s went from %s to %s: %s", node, old.value, new.value, reason
        )

    # ---- what this node tells

    def drain(self) -> None:
        """Tell the others that this node takes nothing more."""
        self._announcing.drain()

    async def _announce(self) -> None:
        """Tell of changes of one's own agents and of how busy they are, until cancelled."""
        revision = -1
        while True:
            if revision != self._directory.revision:
                revision = self._directory.revision
                self._announcing.look()
            self._announcing.say()
            self.keep(self._known())
            with trio.move_on_after(self.settings.loads):
                await self._directory.wait_changed(revision)

    # ---- what is known of the others

    def member(self, member: Member) -> None:
        """Something about a member is another: it is there, it is gone, it tells something new."""
        if member.name == self.node:
            return
        node = self._nodes.get(member.name)
        if node is None:
            node = self._nodes[member.name] = _Node(member.name)
        if not member.state.present:
            self._lose(node, "has left" if member.state is MemberState.LEFT else "is dead")
            return
        if node.gone:
            node.gone, node.back = "", True
            self._pardon(node)
            self._set(node)
        if member.about:
            self.heard(member.name, member.about)

    def heard(self, name: str, data: bytes) -> None:
        """A node tells of itself: the receiver of the topic, too."""
        node = self._nodes.get(name)
        if node is None or node.gone:
            return
        try:
            about = unpack(data, About)
        except WrongMessage as error:
            logger.warning("node %s tells of itself what cannot be read: %s", name, error)
            return
        if about.boot == node.wanted[0] and about.version < node.wanted[1]:
            return  # older than what is known
        node.wanted = (about.boot, about.version)
        if about.draining != node.draining:
            node.draining = about.draining
            self._set(node)
        if node.wanted == (node.boot, node.version):
            self._load(node, about.loads)
            self._tell_back(node)
        elif self._nursery is not None and not node.fetching:
            node.fetching = True
            self._nursery.start_soon(self._fetch, node)

    def _load(self, node: _Node, loads: bytes) -> None:
        for number, news in enumerate(node.agents):
            placed = self.placed.get(news.name)
            place = None if placed is None else placed.places.get(node.name)
            if place is not None:
                place.tell(loads[number] / 255 if number < len(loads) else 0.5)

    async def _fetch(self, node: _Node) -> None:
        """Have what a node announces, as it is now; again and again while it is there and cannot be had."""
        try:
            while not node.gone and node.wanted != (node.boot, node.version):
                try:
                    with trio.fail_after(FETCH):
                        await self._fetch_once(node)
                except (SwarmError, WrongMessage, trio.TooSlowError) as error:
                    self.failed_fetches += 1
                    logger.info("what node %s has cannot be fetched yet: %s", node.name, error)
                    await trio.sleep(self._chance.uniform(1, 2) * _SECOND_THOUGHT)
        finally:
            node.fetching = False

    async def _fetch_once(self, node: _Node) -> None:
        self.fetches += 1
        async with await self.overlay.open(node.name, DIRECTORY, b"", Lane.CONTROL) as stream:
            await send_whole(stream, pack(Asking(tuple(self._catalogs)[:_MOST_KNOWN])))
            told = unpack(await receive_whole(stream, self.settings.largest), Announcement)
        if told.node != node.name:
            raise WrongMessage(f"it tells of node {told.node[:100]!r}")
        # nothing is waited for from here on: what others need no more may be forgotten meanwhile
        found = {digest: unpack_catalog(one, digest) for digest, one in told.catalogs.items()}
        for one in told.agents:
            state_of(one.state)
            if one.catalog not in found and one.catalog not in self._catalogs:
                raise WrongMessage(f"what {one.name[:100]!r} offers is not told")
        self._catalogs |= found
        begun_anew = node.boot not in (0, told.boot)
        node.back = node.back or begun_anew  # what it told before is over
        if begun_anew:
            self._pardon(node)
        node.boot, node.version, node.agents = told.boot, told.version, told.agents
        if node.wanted[0] != told.boot or node.wanted < (told.boot, told.version):
            node.wanted = (told.boot, told.version)
        self._set(node)
        self._tell_back(node)

    def _set(self, node: _Node) -> None:
        """Put the agents of a node where they are looked for."""
        hops = self.overlay.reachable().get(node.name, 1)
        there = {one.name: one for one in self._agents_of(node)}
        for name, news in there.items():
            placed = self.placed.get(name) or self._make(name)
            old = placed.places.get(node.name)
            offered = old.offered if old is not None else None
            catalog = self._catalogs[news.catalog]
            if offered is None or offered.catalog is not catalog:
                offered = Offered(catalog)
            if old is None:
                old = placed.places[node.name] = Place(
                    node.name, news, state_of(news.state), offered
                )
            old.news, old.state, old.offered = news, state_of(news.state), offered
            old.hops = hops
            old.gone = node.gone or ("is draining" if node.draining else "")
            self._seat(name)
        for name, placed in tuple(self.placed.items()):
            if name not in there and placed.places.pop(node.name, None) is not None:
                if placed.local is None and not placed.places:
                    del self.placed[name]
                self._seat(name)
        self._forget_catalogs()

    def _forget_catalogs(self) -> None:
        used = {one.catalog for node in self._nodes.values() for one in node.agents}
        self._catalogs = {key: one for key, one in self._catalogs.items() if key in used}

    def _lose(self, node: _Node, why: str) -> None:
        """A node is gone: nothing is sent there, and what it was doing is not waited for."""
        if node.gone == why:
            return
        node.gone = why
        self._set(node)
        self.forwarding.lost(node.name, f"it {why}")
        for news in self._agents_of(node):
            self.events.lost_with(node.name, news.name, state_of(news.state), f"node {why}")

    def _tell_back(self, node: _Node) -> None:
        """A node is there again: whoever heard that its agents were lost hears what they are now."""
        if not node.back or node.gone:
            return
        node.back = False
        for news in self._agents_of(node):
            self.events.back_with(node.name, news.name, state_of(news.state), news.reason)

    def _agents_of(self, node: _Node) -> list[AgentNews]:
        """Its agents, without those that each node has for itself."""
        return [one for one in node.agents if one.name not in self._apart]

    def keep(self, members: Iterable[str]) -> None:
        """These are the members that are known: others are forgotten, with all they had."""
        known = set(members)
        for name in [one for one in self._nodes if one not in known]:
            node = self._nodes.pop(name)
            node.agents, node.gone = (), "is no member any more"
            self._set(node)
            self.forwarding.lost(name, "it is no member any more")
            self._pardon(node)

    def _pardon(self, node: _Node) -> None:
        """A node is another one than that which failed: nothing is held against it."""
        if node.name in self._breakers:
            self._breakers.remove(node.name, trio.current_time())

    async def follow(self) -> None:
        """Keep the distances, and look again after who could not be reached; until cancelled."""
        async for _ in self.overlay.changes():
            hops = self.overlay.reachable()
            for placed in self.placed.values():
                for name, place in placed.places.items():
                    place.hops = hops.get(name, place.hops)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part, until cancelled. Started once others can ask."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                async with AsyncExitStack() as stack:
                    for entered in (
                        self.overlay.listen(DIRECTORY, self.heard),
                        self.overlay.serve(DIRECTORY, self._announcing.answer),
                        self.overlay.serve(SERVICE, self.serving.serve),
                        self.overlay.serve(TRACES, self.traces.serve),
                        self.overlay.serve(AGENTS, self.showing.serve),
                    ):
                        await stack.enter_async_context(entered)
                    nursery.start_soon(self.events.run)
                    nursery.start_soon(self.looking.run)
                    nursery.start_soon(self._announce)
                    nursery.start_soon(self.follow)
                    task_status.started()
                    await trio.sleep_forever()
            finally:
                self._nursery = None

    def status(self) -> dict[str, Any]:
        """What is true of it, measured, as plain data."""
        now = trio.current_time()
        return {
            "announced": self._announcing.version,
            "nodes": [
                {
                    "name": node.name,
                    "agents": len(node.agents),
                    "version": node.version,
                    "current": node.wanted == (node.boot, node.version),
                    "draining": node.draining,
                    "gone": node.gone,
                    "breaker": (
                        self._breakers[node.name].status(now).state
                        if node.name in self._breakers
                        else "closed"
                    ),
                }
                for _, node in sorted(self._nodes.items())
            ],
            "fetches": self.fetches,
            "failed_fetches": self.failed_fetches,
            "forwarded": self.forwarding.sent,
            "failed": self.forwarding.failed,
            "unknown": self.forwarding.unknown,
            "served": self.serving.served,
            "refused": self.serving.refused,
            "dropped": self.serving.dropped,
            "events": self.events.status(),
        }
