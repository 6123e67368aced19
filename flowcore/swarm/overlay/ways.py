"""What an overlay's parts stand on: this node's links, what is known of all others, and the ways over
them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from flowcore.swarm.interfaces import Lane, Link, Topology
from flowcore.swarm.overlay.frames import (
    MOST_HOPS,
    Carried,
    Digest,
    Opening,
    Packet,
    Report,
    encode,
)
from flowcore.swarm.overlay.proofs import Proofs
from flowcore.swarm.overlay.reports import Reports
from flowcore.swarm.overlay.routes import Links, Routes
from flowcore.swarm.overlay.settings import OverlaySettings
from flowcore.swarm.overlay.wanting import Wanting

_REPORTED = 0.01
"""Seconds between two reports of this node: links that come up together are reported together."""
_STRANGERS = 64
"""Reports of who is no member (yet, or any more) that are kept beside as many as there are members."""


@attrs.define
class Counters:
    """What has happened since the start."""

    relayed: int = 0
    """Messages and streams of others that were passed on."""
    rerouted: int = 0
    """Messages and streams of this node that went another way than the topology's first."""
    dropped: int = 0
    """Messages that no link took, or no way led on for."""
    looped: int = 0
    """Messages and streams that came to the end of their hops, or back to their source."""
    malformed: int = 0
    """What was nothing that an overlay says."""
    unproven: int = 0
    """What was not signed by whom it named, or for an earlier start of this node."""
    duplicates: int = 0
    """What had come before."""
    gaps: int = 0
    """How often messages that should have arrived may not have."""


class Ways:
    """Links, reports and routes of one node."""

    def __init__(
        self,
        name: str,
        topology: Topology,
        proofs: Proofs,
        chance: random.Random,
        settings: OverlaySettings,
        *,
        boot: int,
        version: int,
    ) -> None:
        self.name = name
        self.boot = boot
        self._lives = random.Random(boot)
        self.proofs = proofs
        self.chance = chance
        self.settings = settings
        self.counters = Counters()
        self.links: dict[str, Link] = {}
        self.reports = Reports(name, self.boot, version, proofs)
        self.wanting = Wanting(
            name,
            topology,
            detour_after=settings.detour_after,
            retire_after=settings.retire_after,
        )
        self.woken = trio.Event()
        """Set when there is something for `tick` to do."""
        self._routes: Routes | None = None
        self._reported = float("-inf")
        self._said: Mapping[str, str] = {}

    # ---- what is known

    @property
    def members(self) -> tuple[str, ...]:
        """Who is there, in order."""
        return self.wanting.members

    @property
    def routes(self) -> Routes:
        """The ways as they are now."""
        if self._routes is None:
            # this node's own links as they are this moment, which others may not know yet
            firm: Links = {**self.reports.firm.links, self.name: set(self.wanting.firm())}
            every: Links = {**self.reports.every.links, self.name: set(self.links)}
            self._routes = Routes(
                self.name, self.members, self.wanting.topology, firm=firm, every=every
            )
        return self._routes

    def drawn(self) -> list[tuple[str, str]]:
        """Each link once, its ends' names in order: this node's own as they are, others as both ends say."""
        links: Links = {**self.reports.every.links, self.name: set(self.links)}
        pairs = {
            (min(one, other), max(one, other))
            for one, others in links.items()
            for other in others
            if self.name not in (one, other) or self.name == one
        }
        return sorted(pairs)

    def life(self) -> int:
        """A number for a channel, which none of this node's has had (62 bits)."""
        return self._lives.getrandbits(62)

    def wake(self) -> None:
        """Have `tick` called soon."""
        self.woken.set()

    def touch(self) -> None:
        """A link, a member or a report is another one: ways may have changed."""
        self._routes = None
        self.woken.set()

    # ---- links

    def up(self, link: Link) -> None:
        """A link stands."""
        self.links[link.peer] = link
        self.wanting.up(link.peer, link.address, trio.current_time())
        link.post(Lane.CONTROL, encode(self.reports.digest()))
        self.touch()

    def down(self, link: Link) -> None:
        """It is no more; unless another one has taken its place."""
        if self.links.get(link.peer) is link:
            del self.links[link.peer]
            self.wanting.down(link.peer, trio.current_time())
            self.touch()

    def streams(self, link: Link, more: int) -> None:
        """So many more streams go over a link, or fewer."""
        # those of a link that another one has replaced are broken, and count no more
        if self.links.get(link.peer) is link and self.wanting.streams(link.peer, more):
            self.woken.set()

    # ---- time

    def tick(self, now: float, want: Callable[[Mapping[str, str]], None]) -> float:
        """Let time pass: want links, report links; when to call it again, at the latest."""
        self.wanting.tick(now, covered=self.routes.covered)
        wanted = self.wanting.wanted()
        if wanted != self._said:
            self._said = wanted
            want(wanted)
        due = self.wanting.due(now)
        if now >= self._reported + _REPORTED:
            report = self.reports.tell(self.wanting.firm(), self.wanting.spare())
            if report is not None:
                self._reported = now
                self._routes = None
                self._spread(report, self.links)
        else:
            due = min(due, self._reported + _REPORTED)
        if self.reports.count > 2 * len(self.members) + _STRANGERS:
            self.reports.keep_only({*self.members, *self.links})
        return due

    def ask_somebody(self) -> None:
        """Ask a neighbour, drawn by chance, for what was missed."""
        if self.links:
            link = self.links[self.chance.choice(sorted(self.links))]
            link.post(Lane.CONTROL, encode(self.reports.digest()))

    # ---- reports

    def take_report(self, report: Report, source: str) -> None:
        """A neighbour passes a report on."""
        news = self.reports.take(report)
        if news is not None:
            self._spread(news, self.reports.onward(news, self.links, source))
            self.touch()

    def take_digest(self, digest: Digest, link: Link) -> None:
        """A neighbour says what it knows."""
        for report in self.reports.newer(digest):
            link.post(Lane.CONTROL, encode(report))
        if not digest.answer and self.reports.behind(digest):
            link.post(Lane.CONTROL, encode(self.reports.digest(answer=True)))

    def _spread(self, report: Report, neighbours: Any) -> None:
        said = encode(report)
        for name in neighbours:
            self.links[name].post(Lane.CONTROL, said)

    # ---- packets

    def _limit(self) -> int:
        # no way that makes sense comes to a node twice
        return min(len(self.members) + 1, MOST_HOPS)

    def signed(self, kind: str, target: str, body: bytes) -> bytes | None:
        """This node's signature under something for a node as it runs now; None if nothing is known of it."""
        boot = self.reports.boot(target)
        if boot is None:
            return None
        return self.proofs.make(kind, self.name, f"{target}/{boot}", body)

    def proven(self, kind: str, said: Packet | Opening, link: Link) -> bool:
        """Whether something for this node comes from whom it says."""
        if said.source == link.peer:
            return True
        if said.source == self.name:  # nobody sends to itself over a link
            self.counters.looped += 1
            return False
        me = f"{self.name}/{self.boot}"
        if self.proofs.hold(kind, said.source, me, said.body, said.signature):
            return True
        self.counters.unproven += 1
        return False

    def carry(self, target: str, said: Carried, lane: Lane) -> bool:
        """Send something to a node; False, and counted, if no link takes it."""
        body = encode(said)
        routes = self.routes
        for hop in routes.next_hops(target):
            link = self.links.get(hop)
            if link is None:
                continue
            signature: bytes | None = b""
            if hop != target:
                signature = self.signed("packet", target, body)
                if signature is None:
                    break
            packet = Packet(self.name, target, self._limit(), body, signature or b"")
            if link.post(lane, encode(packet)):
                self.counters.rerouted += routes.is_around(target, hop)
                return True
        self.counters.dropped += 1
        return False

    def opening(self, target: str, hop: str, body: bytes) -> bytes | None:
        """The head of a stream to a node by a neighbour; None if nothing is known of the node."""
        signature: bytes | None = b""
        if hop != target:
            signature = self.signed("call", target, body)
            if signature is None:
                return None
        return encode(Opening(self.name, target, self._limit(), body, signature or b""))

    def onward(self, said: Packet | Opening, came: str) -> tuple[str, ...]:
        """To whom something for another node goes on; () if it may not, or no way leads on."""
        if said.source == self.name or said.hops == 0:
            self.counters.looped += 1
            return ()
        if not said.signature:
            self.counters.unproven += 1
            return ()
        # never back: where it came from, it is thought to be nearer here
        return tuple(one for one in self.routes.next_hops(said.target) if one != came)

    def pass_on(self, packet: Packet, lane: Lane, came: str) -> None:
        """Pass on what is for another node."""
        ways = self.onward(packet, came)
        if ways:
            said = encode(
                Packet(packet.source, packet.target, packet.hops - 1, packet.body, packet.signature)
            )
            for hop in ways:
                link = self.links.get(hop)
                if link is not None and link.post(lane, said):
                    self.counters.relayed += 1
                    return
        self.counters.dropped += 1
