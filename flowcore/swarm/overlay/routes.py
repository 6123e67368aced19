"""Which neighbour leads to whom: along the topology while its links stand, else around what is broken.
Sans-IO.

The graph is that of the reports, with this node's own links as they are this moment. A way goes on only to a
neighbour that is one hop nearer to the target, so where all know the same there are no loops; while they do
not, for as long as a report is on its way, the hop limit ends what loops. Of the neighbours that are nearer,
the one comes first that the topology names first.

Links that the topology does not ask for are used for nodes that the others do not lead to. Whoever has a way
of links that are asked for stays on them, and so do all behind; whoever has none comes nearer on all links.
So there are no loops where the two meet, either, and the way may be longer than it was thought to be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flowcore.swarm.interfaces import Topology

Links = Mapping[str, Collection[str]]


def distances(links: Links, start: str, without: str = "") -> dict[str, int]:
    """In how many hops each node is reached; not through `without`."""
    found = {start: 0}
    order = [start]
    left = len(links) - (start in links) - (without in links)
    for node in order:
        if not left:
            break  # in a mesh that is so after the first
        away = found[node] + 1
        for other in links.get(node, ()):
            if other not in found and other != without:
                found[other] = away
                left -= other in links
                order.append(other)
    return found


class Routes:
    """The ways from one node, as of one moment. Made anew when a link or a member changes."""

    def __init__(
        self,
        name: str,
        members: Sequence[str],
        topology: Topology,
        *,
        firm: Links,
        every: Links,
    ) -> None:
        """`firm` and `every` are graphs; in both, the entry of `name` has the links that stand this
        moment."""
        self._name = name
        self._members = members
        self._topology = topology
        self._firm = firm
        self._every = every
        present = set(members)
        near = distances(firm, name)
        far = distances(every, name)
        self.reachable: Mapping[str, int] = {
            one: near.get(one, hops) for one, hops in far.items() if one in present and one != name
        }
        """Members that can be reached, and over how many hops."""
        self.covered = all(one in near for one in self.reachable)
        """Whether the links that the topology asks for lead to all of them."""
        self._near = near
        self._hops: dict[str, tuple[str, ...]] = {}
        self._first: dict[str, str] = {}

    def next_hops(self, target: str) -> tuple[str, ...]:
        """Neighbours that lead to a target, the best first; () if none does."""
        kept = self._hops.get(target)
        if kept is None:
            kept = self._hops[target] = self._found(target)
        return kept

    def is_around(self, target: str, hop: str) -> bool:
        """Whether a neighbour is another one than the topology's first for a target."""
        first = self._first.get(target)
        if first is None:
            named = self._topology.next_hops(self._name, target, self._members)
            first = self._first[target] = named[0] if named else ""
        return first != hop

    def _found(self, target: str) -> tuple[str, ...]:
        if target not in self.reachable:
            return ()
        links = self._firm if target in self._near else self._every
        mine = links.get(self._name, ())
        if target in mine:
            return (target,)
        away = distances(links, target, without=self._name)
        nearest = self.reachable[target] - 1
        leading = {one for one in mine if away.get(one) == nearest}
        named = self._topology.next_hops(self._name, target, self._members)
        first = [one for one in named if one in leading]
        return (*first, *sorted(leading.difference(first)))

    def second_ways(self, target: str) -> tuple[str, ...]:
        """All neighbours from which a way leads to a target that does not come back here, shortest first."""
        if target not in self.reachable:
            return ()
        away = distances(self._every, target, without=self._name)
        mine = (one for one in self._every.get(self._name, ()) if one in away)
        return tuple(sorted(mine, key=lambda one: (away[one], one)))
