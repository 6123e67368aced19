"""The overlay of a node: messages and streams from any node to any node, over whatever links there are.

overlay = SwarmOverlay("alpha", topology, sign=port.sign, verify=port.verify)
async with open_links(..., user=overlay) as links, overlay.running(links):
    overlay.follow({"beta": "10.0.0.2:7400"})
    stream = await overlay.open("beta", "requests", head)
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
)
from typing import Any

import attrs
import trio

from flowcore.swarm.interfaces import (
    Handler,
    Lane,
    Link,
    Links,
    Reached,
    Receiver,
    Stream,
    Topology,
)
from flowcore.swarm.overlay.broadcasts import Broadcasts
from flowcore.swarm.overlay.frames import (
    Ack,
    Cast,
    Digest,
    Malformed,
    Packet,
    Post,
    Report,
    Segment,
    read_carried,
    read_spoken,
)
from flowcore.swarm.overlay.messages import Messages, Topics
from flowcore.swarm.overlay.opening import Openings
from flowcore.swarm.overlay.proofs import Certificate, Learn, Proofs, Sign, Verify
from flowcore.swarm.overlay.routes import Routes
from flowcore.swarm.overlay.serving import Serving
from flowcore.swarm.overlay.settings import OverlaySettings
from flowcore.swarm.overlay.ways import Ways


class SwarmOverlay:
    """An `Overlay`, and the user of a node's links."""

    def __init__(
        self,
        name: str,
        topology: Topology,
        *,
        cluster: str = "flow",
        sign: Sign,
        verify: Verify,
        certificate: Certificate = lambda name: None,
        learn: Learn = lambda certificate: None,
        chance: random.Random | None = None,
        settings: OverlaySettings | None = None,
        boot: int | None = None,
        version: int | None = None,
    ) -> None:
        """With `certificate` and `learn`, nodes come to know the certificates of those they have no link to.

        `boot` (62 bits) names this start among all of the node's; unset, it is drawn from the system's
        randomness. `version` is what reports of this node count from: higher than at the last start; unset,
        the time.
        """
        self._settings = settings or OverlaySettings()
        self._ways = Ways(
            name,
            topology,
            Proofs(cluster, sign, verify, certificate, learn),
            chance or random.Random(),
            self._settings,
            boot=secrets.randbits(62) if boot is None else boot,
            version=time.time_ns() // 1000 if version is None else version,
        )
        self._topics = Topics()
        self._messages = Messages(self._ways, self._topics)
        self._broadcasts = Broadcasts(self._ways, self._topics)
        self._serving = Serving(self._ways)
        self._openings = Openings(self._ways, self._since, self._serving.count)
        self._seen: Routes | None = None
        self._reachable: Mapping[str, int] = {}
        self._unreachable: dict[str, float] = {}
        self._change = 0
        self._changed = trio.Event()

    # ---- its life

    @asynccontextmanager
    async def running(self, links: Links) -> AsyncGenerator[None]:
        """Ask for links, and keep things going, as long as the block lasts."""
        async with trio.open_nursery() as nursery:
            self._serving.nursery = nursery
            nursery.start_soon(self._tick, links)
            nursery.start_soon(self._sync)
            try:
                yield
            finally:
                self._serving.nursery = None
                self._messages.close()
                nursery.cancel_scope.cancel()

    def use(self, topology: Topology) -> None:
        """Follow another topology from now on. Links that it does not ask for are let go when those that it
        does ask for stand, and nothing goes over them any more."""
        self._ways.wanting.use(topology, trio.current_time())
        self._ways.touch()

    def follow(self, members: Mapping[str, str]) -> None:
        """These are the members that are present, and the addresses where they take links; with or without
        this node."""
        others = {name: address for name, address in members.items() if name != self.name}
        self._ways.wanting.follow(others, trio.current_time())
        self._ways.touch()

    async def _tick(self, links: Links) -> None:
        ways = self._ways
        while True:
            ways.woken = trio.Event()
            now = trio.current_time()
            due = ways.tick(now, links.want)
            self._look()
            due = min(due, self._messages.tick(now))
            self._broadcasts.tick(now)
            # what was sent may already have made something to do
            with trio.move_on_at(max(due, now)):
                await ways.woken.wait()
            await trio.lowlevel.checkpoint()

    async def _sync(self) -> None:
        while True:
            await trio.sleep(self._settings.sync * self._ways.chance.uniform(0.5, 1.5))
            self._ways.ask_somebody()

    def _look(self) -> None:
        """See what can be reached now, and tell who waits for a change of it."""
        ways = self._ways
        routes = ways.routes
        if routes is self._seen:
            return
        self._seen = routes
        now = trio.current_time()
        reachable = routes.reachable
        away = [one for one in ways.members if one not in reachable and one != ways.name]
        unreachable = {one: self._unreachable.get(one, now) for one in away}
        if reachable != self._reachable or unreachable.keys() != self._unreachable.keys():
            self._change += 1
            self._changed.set()
            self._changed = trio.Event()
        self._reachable, self._unreachable = reachable, unreachable
        self._openings.met()
        self._serving.met()
        self._messages.met(now)

    def _since(self, node: str) -> float:
        self._look()
        return self._unreachable.get(node, trio.current_time())

    # ---- what its users ask

    @property
    def name(self) -> str:
        """This node's name."""
        return self._ways.name

    @property
    def topology(self) -> Topology:
        """The one that is followed now."""
        return self._ways.wanting.topology

    def reachable(self) -> Mapping[str, int]:
        """The nodes that can be reached now, and over how many hops; without oneself."""
        self._look()
        return self._reachable

    def unreachable(self) -> Mapping[str, float]:
        """Members that are present and cannot be reached, and since when (trio's clock)."""
        self._look()
        return dict(self._unreachable)

    def drawn(self) -> list[tuple[str, str]]:
        """The links of the whole swarm, as far as this node knows: each pair of names once, in order."""
        return self._ways.drawn()

    def serve(self, service: str, handler: Handler) -> AbstractAsyncContextManager[None]:
        """Serve streams that others open to a service of this node, each in a task of its own."""
        return _entered(self._serving.serving(service, handler))

    async def open(
        self,
        node: str,
        service: str,
        head: bytes,
        lane: Lane = Lane.REQUESTS,
        *,
        whole: bool = False,
    ) -> Stream:
        """Open a stream to a service of another node. Raises Unreachable: nothing has begun there;
        StreamBroken if that is not known."""
        if node == self.name:
            return await self._serving.open_here(service, head, whole=whole)
        return await self._openings.open(node, service, head, lane, whole=whole)

    def listen(self, topic: str, receiver: Receiver) -> AbstractAsyncContextManager[None]:
        """Take messages of a topic, as long as the block lasts."""
        return _entered(self._topics.listening(topic, receiver))

    def post(self, node: str, topic: str, message: bytes, lane: Lane) -> bool:
        """Send a message that may be lost, without waiting."""
        return self._messages.post(node, topic, message, lane)

    async def send(self, node: str, topic: str, message: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Send a message that arrives once and in order; returns when it was taken. Raises Unreachable."""
        await self._messages.send(node, topic, message, lane)

    async def broadcast(
        self, topic: str, message: bytes, *, deadline: float, lane: Lane = Lane.CONTROL
    ) -> Reached:
        """Send a message to every other member; who has confirmed it by the deadline."""
        return await self._broadcasts.broadcast(topic, message, deadline, lane)

    async def changes(self) -> AsyncGenerator[None]:
        """Once at first, and after each change of what can be reached."""
        seen = -1
        while True:
            while seen == self._change:
                await self._changed.wait()
            seen = self._change
            yield

    def status(self) -> dict[str, Any]:
        """What is true now: members, ways, streams, and what was counted."""
        ways = self._ways
        now = trio.current_time()
        return {
            "members": len(ways.members),
            "reachable": dict(self.reachable()),
            "unreachable": {
                one: round(now - since, 3) for one, since in self.unreachable().items()
            },
            "links": {
                "asked_for": sorted(ways.wanting.firm()),
                "spare": sorted(ways.wanting.spare()),
                "failing": sorted(ways.wanting.failing(now)),
            },
            "streams": self._serving.streams,
            "unconfirmed": self._messages.waiting(),
            **attrs.asdict(ways.counters),
            "unproven": ways.counters.unproven + ways.reports.unproven,
        }

    # ---- what its links say

    def link_up(self, link: Link) -> None:
        """A link stands."""
        self._ways.up(link)

    def link_down(self, link: Link, reason: str) -> None:
        """It is no more."""
        del reason
        self._ways.down(link)

    def message(self, link: Link, lane: Lane, message: bytes) -> None:
        """A neighbour says something."""
        ways = self._ways
        try:
            said = read_spoken(message)
            if isinstance(said, Packet):
                if said.target == ways.name:
                    self._take(said, lane, link)
                else:
                    ways.pass_on(said, lane, link.peer)
            elif isinstance(said, Report):
                ways.take_report(said, link.peer)
            elif isinstance(said, Digest):
                ways.take_digest(said, link)
        except Malformed:
            ways.counters.malformed += 1

    def _take(self, packet: Packet, lane: Lane, link: Link) -> None:
        carried = read_carried(packet.body)
        if not self._ways.proven("packet", packet, link):
            return
        source = packet.source
        if isinstance(carried, Post | Segment | Ack):
            self._messages.take(carried, source, link)
        elif isinstance(carried, Cast):
            self._broadcasts.take_cast(carried, source, lane)
        else:
            self._broadcasts.take_heard(carried)

    async def stream(self, link: Link, lane: Lane, head: bytes, stream: Stream) -> None:
        """A neighbour opens a stream, to this node or through it."""
        await self._serving.take(link, lane, head, stream)


@asynccontextmanager
async def _entered(block: AbstractContextManager[None]) -> AsyncGenerator[None]:
    with block:
        yield
