"""One node's part in a swarm: its links, its overlay, and whom it knows.

    async with open_swarm(settings, ...) as swarm:
        swarm.members()
        await swarm.overlay.open("beta", "service", b"")

What stands upon it (the federation, a consensus engine) serves and opens streams of the overlay, and hears of
members by `watch`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import trio

from flowcore.swarm.interfaces import Member, Membership, Overlay, Topology
from flowcore.swarm.links import OpenLinks
from flowcore.swarm.settings import SwarmSettings

logger = logging.getLogger(__name__)

Sign = Callable[[bytes], bytes]
KeyIn = Callable[[bytes], tuple[str, bytes]]
Told = Callable[[Member], None]
"""Is told of a member that is new, or another than it was. It must be quick and not raise."""

_MOST_PLANNED = 100
"""Members among whom the topology's links are told: of more, nobody draws them."""


class Swarm:
    """Made by `open_swarm`."""

    def __init__(
        self,
        settings: SwarmSettings,
        *,
        name: str,
        address: str,
        topology: Topology,
        membership: Membership,
        links: OpenLinks,
        overlay: Overlay,
        sign: Sign,
        key_in: KeyIn,
    ) -> None:
        self.settings = settings
        self.name = name
        self.address = address
        """Where other nodes reach it: `host:port`."""
        self.topology = topology
        self.kind = settings.topology.type
        """The topology's type, as configured."""
        self.membership = membership
        self.links = links
        self.overlay = overlay
        self.sign = sign
        """Signs bytes as this node: an Ed25519 signature (64 bytes)."""
        self.key_in = key_in
        """Whose certificate (DER) it is, and the Ed25519 public key in it. Raises SwarmError."""
        self._watchers: list[Told] = []
        self._left = False

    @property
    def cluster(self) -> str:
        """The swarm's name."""
        return self.settings.cluster

    def members(self) -> Mapping[str, Member]:
        """Everybody known, by name, this node too."""
        return self.membership.members()

    def watch(self, told: Told) -> Callable[[], None]:
        """Be told of every member now, and of each that changes, until the returned function is called."""
        self._watchers.append(told)
        for member in tuple(self.members().values()):
            told(member)

        def stop() -> None:
            if told in self._watchers:
                self._watchers.remove(told)

        return stop

    def use(self, topology: Topology, kind: str) -> None:
        """Follow another topology from now on: links that it does not ask for stay until its own stand."""
        self.topology, self.kind = topology, kind
        self.overlay.use(topology)

    def tell(self, about: bytes) -> None:
        """This is what this node tells of itself from now on; ValueError beyond `MOST_ABOUT` bytes."""
        self.membership.tell(about)

    def changed(self, member: Member) -> None:
        """A member is new, or another than it was."""
        for told in tuple(self._watchers):
            try:
                told(member)
            except Exception:
                logger.exception("an observer of members failed at %s", member.name)

    async def leave(self) -> None:
        """Say farewell: the others send nothing more here. Once."""
        if not self._left:
            self._left = True
            await self.membership.leave()

    def status(self) -> dict[str, Any]:
        """What is true of it, measured, as plain data that JSON can carry; times in seconds."""
        now = trio.current_time()
        hops = self.overlay.reachable()
        lost = self.overlay.unreachable()
        up = self.links.up()
        members = []
        for name, one in sorted(self.members().items()):
            link = up.get(name)
            members.append(
                {
                    "name": name,
                    "state": one.state.value,
                    "since": round(now - one.since, 3),
                    "address": one.address,
                    "incarnation": one.incarnation,
                    "hops": 0 if name == self.name else hops.get(name),
                    "unreachable": round(now - lost[name], 3) if name in lost else None,
                    "rtt": None if link is None else link.rtt,
                }
            )
        names = [name for name, one in sorted(self.members().items()) if one.state.present]
        present = len(names)
        return {
            "cluster": self.settings.cluster,
            "address": self.address,
            "topology": self.kind,
            "reach": self.topology.reach(max(1, present)),
            "tolerates": self.topology.tolerates(max(1, present)),
            "members": members,
            "graph": self.overlay.drawn(),
            "planned": self._planned(names),
            **self.links.status(),
            "membership": self.membership.status(),
            "overlay": self.overlay.status(),
        }

    def _planned(self, names: list[str]) -> list[list[str]]:
        """The links that the topology has among these, as pairs of names in order; others may stand, too:
        for a part that wants them, or not closed yet."""
        if not 1 < len(names) <= _MOST_PLANNED or self.name not in names:
            return []
        topology = self.topology
        pairs = {
            (min(one, other), max(one, other))
            for one in names
            for other in topology.neighbours(one, names)
        }
        return [list(pair) for pair in sorted(pairs)]
