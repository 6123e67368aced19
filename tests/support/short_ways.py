"""Overlays of several nodes in one process, without links: for what stands upon them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flowcore.errors import StreamBroken, Unreachable
from flowcore.swarm import Handler, Lane, Reached, Receiver, Stream, Topology
from flowcore.swarm.overlay.streams import near_streams


@attrs.define(eq=False)
class Net:
    """All overlays, and who reaches whom."""

    nursery: trio.Nursery
    nodes: dict[str, Node] = attrs.field(factory=dict)
    cut: set[frozenset[str]] = attrs.field(factory=set)
    streams: list[tuple[frozenset[str], Stream]] = attrs.field(factory=list)

    def add(self, name: str) -> Node:
        """A node's overlay."""
        node = self.nodes[name] = Node(name, self)
        self.changed()
        return node

    def part(self, one: str, other: str) -> None:
        """Two nodes reach each other no more; streams between them break."""
        pair = frozenset((one, other))
        self.cut.add(pair)
        for between, stream in self.streams:
            if between == pair:
                stream.reset("the way is lost")
        self.changed()

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.cut.clear()
        self.changed()

    def changed(self) -> None:
        for node in self.nodes.values():
            node.moved.set()
            node.moved = trio.Event()


class Node:
    """`flowcore.swarm.Overlay`, of one node."""

    def __init__(self, name: str, net: Net) -> None:
        self.name = name
        self.net = net
        self.services: dict[str, Handler] = {}
        self.receivers: dict[str, Receiver] = {}
        self.moved = trio.Event()
        self.opened = 0

    def drawn(self) -> list[tuple[str, str]]:
        return [(self.name, one) for one in self.reachable()]

    def reachable(self) -> Mapping[str, int]:
        return {
            name: 1
            for name in self.net.nodes
            if name != self.name and frozenset((name, self.name)) not in self.net.cut
        }

    def unreachable(self) -> Mapping[str, float]:
        return {name: 0.0 for name in self.net.nodes if name not in {*self.reachable(), self.name}}

    @asynccontextmanager
    async def serve(self, service: str, handler: Handler) -> AsyncGenerator[None]:
        self.services[service] = handler
        try:
            yield
        finally:
            del self.services[service]

    async def open(
        self,
        node: str,
        service: str,
        head: bytes,
        lane: Lane = Lane.REQUESTS,
        *,
        whole: bool = False,
    ) -> Stream:
        del lane
        await trio.lowlevel.checkpoint()
        if node not in self.reachable():
            raise Unreachable(f"no way leads to {node}")
        handler = self.net.nodes[node].services.get(service)
        if handler is None:
            raise Unreachable(f"node {node} has no service {service}")
        self.opened += 1
        here, there = near_streams(node, self.name)
        if whole:
            await here.finish()
        self.net.streams.append((frozenset((self.name, node)), here))

        async def serve() -> None:
            try:
                async with there:
                    await handler(self.name, head, there)
            except StreamBroken:
                pass  # the opener knows

        self.net.nursery.start_soon(serve)
        return here

    @asynccontextmanager
    async def listen(self, topic: str, receiver: Receiver) -> AsyncGenerator[None]:
        self.receivers[topic] = receiver
        try:
            yield
        finally:
            del self.receivers[topic]

    def post(self, node: str, topic: str, message: bytes, lane: Lane) -> bool:
        del lane
        if node not in self.reachable():
            return False
        receiver = self.net.nodes[node].receivers.get(topic)
        if receiver is not None:
            receiver(self.name, message)
        return receiver is not None

    async def send(self, node: str, topic: str, message: bytes, lane: Lane = Lane.CONTROL) -> None:
        await trio.lowlevel.checkpoint()
        if not self.post(node, topic, message, lane):
            raise Unreachable(f"no way leads to {node}")

    async def broadcast(
        self, topic: str, message: bytes, *, deadline: float, lane: Lane = Lane.CONTROL
    ) -> Reached:
        del deadline
        await trio.lowlevel.checkpoint()
        reached = [node for node in self.reachable() if self.post(node, topic, message, lane)]
        return Reached(reached=tuple(reached), missed=tuple(self.unreachable()))

    async def changes(self) -> AsyncGenerator[None]:
        while True:
            moved = self.moved
            yield
            await moved.wait()

    def use(self, topology: Topology) -> None:
        del topology

    def status(self) -> dict[str, Any]:
        return {}
