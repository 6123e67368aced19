"""Swarms of overlays on links in memory."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import attrs
import trio
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from flowcore.swarm import Topology
from flowcore.swarm.overlay import OverlaySettings, SwarmOverlay
from flowcore.testing import NeighbourLinks, Neighbours


class Keys:
    """An Ed25519 key for each name."""

    def __init__(self) -> None:
        self._keys: dict[str, SigningKey] = {}

    def _key(self, name: str) -> SigningKey:
        if name not in self._keys:
            self._keys[name] = SigningKey(name.encode().ljust(32, b"."))
        return self._keys[name]

    def sign(self, name: str) -> Callable[[bytes], bytes]:
        key = self._key(name)
        return lambda data: key.sign(data).signature

    def verify(self, name: str, data: bytes, signature: bytes) -> bool:
        verifier: VerifyKey = self._key(name).verify_key
        try:
            verifier.verify(data, signature)
        except BadSignatureError:
            return False
        return True


@attrs.define(eq=False)
class Node:
    """One start of a node."""

    name: str
    overlay: SwarmOverlay
    links: NeighbourLinks
    scope: trio.CancelScope


@attrs.define(eq=False)
class Swarm:
    """Some nodes, all told of the same members."""

    net: Neighbours
    nursery: trio.Nursery
    topology: Topology
    settings: OverlaySettings
    setup: Callable[[Swarm, str, SwarmOverlay], Any] | None = None
    """An async context manager that is entered with each start of a node."""
    keys: Keys = attrs.field(factory=Keys)
    nodes: dict[str, Node] = attrs.field(factory=dict)
    present: set[str] = attrs.field(factory=set)
    starts: int = 0

    def __getitem__(self, name: str) -> SwarmOverlay:
        return self.nodes[name].overlay

    async def start(self, name: str) -> None:
        """Start a node, or start it again."""
        self.starts += 1
        await self.nursery.start(self._run, name, self.starts)
        self.present.add(name)
        self.tell()

    async def _run(self, name: str, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        overlay = SwarmOverlay(
            name,
            self.topology,
            sign=self.keys.sign(name),
            verify=self.keys.verify,
            chance=random.Random(self.net.random.random()),
            settings=self.settings,
            boot=self.net.random.getrandbits(62),
            version=number * 1_000_000,
        )
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                links = self.net.join(name, overlay, nursery)
                self.nodes[name] = Node(name, overlay, links, scope)
                try:
                    async with overlay.running(links):
                        if self.setup is None:
                            task_status.started()
                            await trio.sleep_forever()
                        async with self.setup(self, name, overlay):
                            task_status.started()
                            await trio.sleep_forever()
                finally:
                    links.alive = False

    def crash(self, name: str, *, silent: bool = False, known: bool = True) -> None:
        """Kill a node; its members know at once, or not."""
        node = self.nodes.pop(name)
        node.links.crash(silent=silent)
        node.scope.cancel()
        if known:
            self.present.discard(name)
            self.tell()

    def tell(self) -> None:
        """Tell all who is present."""
        members = {name: f"{name}:7400" for name in self.present}
        for node in self.nodes.values():
            node.overlay.follow(members)

    def use(self, topology: Topology) -> None:
        """Switch all to another topology."""
        self.topology = topology
        for node in self.nodes.values():
            node.overlay.use(topology)

    async def settled(self, within: float = 30.0) -> None:
        """Wait until all who live can reach all who are present."""
        with trio.fail_after(within):
            for name, node in list(self.nodes.items()):
                async with aclosing(node.overlay.changes()) as changes:
                    async for _ in changes:
                        if set(node.overlay.reachable()) == self.present - {name}:
                            break


@asynccontextmanager
async def open_swarm(
    names: Iterable[str],
    topology: Topology,
    *,
    seed: int = 7,
    settings: OverlaySettings | None = None,
    setup: Callable[[Swarm, str, SwarmOverlay], Any] | None = None,
    calm: float = 5.0,
    **net: Any,
) -> AsyncGenerator[Swarm]:
    """Nodes of these names, all of whom can reach each other. `calm`: seconds until it goes on, in which
    links of the time when there were fewer nodes are let go."""
    async with trio.open_nursery() as nursery:
        swarm = Swarm(
            Neighbours(seed, **net),
            nursery,
            topology,
            settings or OverlaySettings(),
            setup,
        )
        for name in names:
            await swarm.start(name)
        await swarm.settled()
        await trio.sleep(calm)
        yield swarm
        nursery.cancel_scope.cancel()
