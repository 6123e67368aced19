"""To whom a node has links: those of the topology, ways around what is broken, and old ones for a while.
Sans-IO.

- *Asked for* are the topology's neighbours among the members.
- A neighbour to which no link has stood for a while is *failing*. Links are asked for, too, as if it
  were lost: for a star without its hub the next one, for a node whose parent is gone the parent it would
  then have. All who have lost it do the same, at once, without waiting for the membership to be sure;
  and if only the one link is broken, it is a way around it.
- *Make before break*: a link that is not asked for any more, since the topology or the members have changed,
  is kept until the links that are asked for, here and elsewhere, lead to everybody who can be reached at all,
  have done so for a while, and no stream goes over it. New streams do not, for it is reported as spare. Links
  that are asked for are not given up by anyone, so it does not matter in which order others let theirs go.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from flowcore.swarm.interfaces import Topology


@attrs.define(eq=False)
class _Link:
    """What is known of the link to one node."""

    address: str
    since: float
    """When it came up or went down, or was first asked for."""
    up: bool = False
    streams: int = 0
    asked: bool = False
    kept: bool = False
    """Whether it was asked for, and is not let go yet."""


class Wanting:
    """The links that a node has, and those that it wants."""

    def __init__(
        self, name: str, topology: Topology, *, detour_after: float, retire_after: float
    ) -> None:
        self._name = name
        self.topology = topology
        """The one that is followed; `use` takes another."""
        self.members: tuple[str, ...] = (name,)
        """Who is there, in order."""
        self._addresses: dict[str, str] = {}
        self._detour_after = detour_after
        self._retire_after = retire_after
        self._links: dict[str, _Link] = {}
        self._covered_since: float | None = None

    # ---- what happens

    def use(self, topology: Topology, now: float) -> None:
        """Follow another topology."""
        self.topology = topology
        self._ask(now)

    def follow(self, addresses: Mapping[str, str], now: float) -> None:
        """These are the members now, and where they take links."""
        self._addresses = dict(addresses)
        self.members = tuple(sorted({*addresses, self._name}))
        for name, link in self._links.items():
            link.address = addresses.get(name, link.address)
        self._ask(now)

    def up(self, name: str, address: str, now: float) -> None:
        """A link stands, whoever wanted it."""
        link = self._links.setdefault(name, _Link(address, now))
        link.up, link.since, link.streams = True, now, 0
        self._ask(now)

    def down(self, name: str, now: float) -> None:
        """It is no more."""
        link = self._links.get(name)
        if link is not None:
            link.up, link.since, link.streams = False, now, 0
            self._ask(now)

    def streams(self, name: str, more: int) -> bool:
        """So many more streams go over a link, or fewer; whether it may be let go now."""
        link = self._links.get(name)
        if link is None:
            return False
        link.streams += more
        return link.kept and not link.streams

    def tick(self, now: float, *, covered: bool) -> None:
        """Let time pass. `covered`: whether links that are asked for lead to all who can be reached."""
        if not covered:
            self._covered_since = None
        elif self._covered_since is None:
            self._covered_since = now
        self._ask(now)
        since = self._covered_since
        for link in self._links.values():
            if link.kept and not link.streams and since is not None:
                link.kept = now < since + self._retire_after

    # ---- what follows

    def due(self, now: float) -> float:
        """When to `tick` again, at the latest."""
        dues = [
            link.since + self._detour_after
            for link in self._links.values()
            if link.asked and not link.up and link.since + self._detour_after > now
        ]
        if self._covered_since is not None and any(
            link.kept and not link.streams for link in self._links.values()
        ):
            dues.append(self._covered_since + self._retire_after)
        return min(dues, default=float("inf"))

    def wanted(self) -> Mapping[str, str]:
        """To whom links are wanted, and where: those asked for, and those that are not to be let go yet."""
        return {
            name: link.address
            for name, link in self._links.items()
            if link.address and (link.asked or link.kept)
        }

    def firm(self) -> list[str]:
        """Nodes to which a link stands that is asked for."""
        return [name for name, link in self._links.items() if link.up and link.asked]

    def spare(self) -> list[str]:
        """Nodes to which another one stands."""
        return [name for name, link in self._links.items() if link.up and not link.asked]

    def failing(self, now: float) -> set[str]:
        """Those asked for to which no link has stood for a while."""
        return {
            name
            for name, link in self._links.items()
            if link.asked and not link.up and now >= link.since + self._detour_after
        }

    def _ask(self, now: float) -> None:
        asked = set(self.topology.neighbours(self._name, self.members))
        lost: set[str] = set()
        while more := {one for one in asked - lost if self._fails(one, now)}:
            lost |= more
            left = [one for one in self.members if one not in lost]
            asked |= set(self.topology.neighbours(self._name, left))
        for name in asked:
            link = self._links.get(name)
            if link is None:
                self._links[name] = link = _Link(self._addresses.get(name, ""), now)
            link.asked, link.kept = True, False
        for name, link in list(self._links.items()):
            if link.asked and name not in asked:
                link.asked = False
                link.kept = True
                self._covered_since = None
            if not link.asked and not link.up:
                del self._links[name]

    def _fails(self, name: str, now: float) -> bool:
        link = self._links.get(name)
        return link is not None and not link.up and now >= link.since + self._detour_after
