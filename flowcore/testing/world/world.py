"""`World`: nodes, their network, disks and clocks, all of it in one thread, in virtual time, from one seed.

An engine without sockets and clocks is put on nodes and lives through hours of faults in a second. The same
seed gives the same run, step for step; a run that fails tells its seed.
"""

from __future__ import annotations

import heapq
from typing import Any

from flowcore.testing.world.links import Link, Links
from flowcore.testing.world.node import Node, Start
from flowcore.testing.world.timeline import Timeline


class World(Timeline):
    """Nodes, and what lies between them. `trace` is how many lines of a trace are kept, 0 for none."""

    def __init__(self, seed: int = 0, *, link: Link | None = None, trace: int = 0) -> None:
        super().__init__(seed, trace=trace)
        self.links = Links(link)
        self.nodes: dict[str, Node] = {}
        self.sent = 0
        """Messages that were given to the network."""
        self.lost = 0
        """Those that never come."""
        self.delivered = 0
        """Those that came, twice counted if twice."""

    def add(self, name: str, start: Start) -> Node:
        """A node that is up; `start` makes its process, now and after every crash."""
        if name in self.nodes:
            raise ValueError(f"there is a node {name!r} already")
        node = self.nodes[name] = Node(self, name, start, self.send)
        node.restart()
        return node

    def send(self, sender: str, receiver: str, message: Any) -> None:
        """Give a message to the network. It must not change any more, for it may come twice."""
        self.sent += 1
        node = self.nodes.get(receiver)
        delays: tuple[float, ...] = ()
        if node is not None:
            if sender == receiver:
                delays = (0.0,)
            else:
                delays = self.links.delays(sender, receiver, self.now, self.random)
        if not delays:
            self.lost += 1
            if self._trace is not None:
                self.trace(f"{sender} -> {receiver} lost", message)
        for delay in delays:
            self._number += 1
            heapq.heappush(
                self._events,
                (self.now + delay, self._number, self._deliver, (node, sender, message)),
            )

    def _deliver(self, node: Node, sender: str, message: Any) -> None:
        self.delivered += 1
        if self._trace is not None:
            gone = "" if node.up else ", which is down"
            self.trace(f"{sender} -> {node.name}{gone}", message)
        node.deliver(sender, message)
