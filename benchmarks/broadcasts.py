"""Broadcasts to 60 nodes, over overlays and links as they are: TLS on sockets of this machine.

All 61 nodes are in one process, so that a broadcast costs here what all of them spend on it, one after the
other; on machines of their own they work side by side.
"""

from __future__ import annotations

import datetime
import pathlib
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from statistics import median

import trio

from benchmarks.report import Figure
from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.certs import CertFolder, Kind, Wanted
from flowcore.swarm import NodeTlsSettings, Topology
from flowcore.swarm.identity import Identity
from flowcore.swarm.links import Node, connect_tcp, open_links, open_ports
from flowcore.swarm.links.settings import LinkSettings
from flowcore.swarm.overlay import SwarmOverlay

OTHERS = 60
TIMES = 30
TOPIC, MESSAGE = "news", bytes(256)
_PATIENCE = 60.0
"""Seconds until all must reach all."""
_LINKS = LinkSettings(handshake_timeout=30.0)
"""All of them shake hands at once, on one processor."""


def measure(times: int = TIMES, others: int = OTHERS) -> list[Figure]:
    """Until when all have confirmed a broadcast of 256 bytes, from another node each time."""
    kinds: dict[str, Topology] = {
        "hierarchical": Hierarchical(HierarchicalConfig()),
        "star": Star(StarConfig()),
        "ring": Ring(RingConfig()),
    }
    names = [f"node-{number:02}" for number in range(others + 1)]
    with tempfile.TemporaryDirectory(prefix="flow-broadcasts") as name:
        folder = pathlib.Path(name)
        wanted = [
            Wanted(kind=Kind.NODE, name=one, hosts=("127.0.0.1",), algorithm="ed25519")
            for one in names
        ]
        CertFolder(folder).init(wanted, datetime.datetime.now(datetime.UTC))
        took = {
            kind: trio.run(_broadcasts, folder, names, topology, times)
            for kind, topology in kinds.items()
        }
    return [
        figure
        for kind, seconds in took.items()
        for figure in (
            Figure(
                name=f"broadcast to {others}, {kind}: confirmed by all, p50",
                value=1000 * median(seconds),
                unit="ms",
            ),
            Figure(
                name=f"broadcast to {others}, {kind}: confirmed by all, most",
                value=1000 * max(seconds),
                unit="ms",
            ),
        )
    ]


async def _broadcasts(
    folder: pathlib.Path, names: list[str], topology: Topology, times: int
) -> list[float]:
    took: list[float] = []
    with trio.CancelScope() as scope:
        async with AsyncExitStack() as stack:
            nodes: dict[str, tuple[SwarmOverlay, str]] = {}
            for name in names:
                nodes[name] = await stack.enter_async_context(_node(folder, name, topology))
            members = {name: address for name, (_, address) in nodes.items()}
            for overlay, _ in nodes.values():
                overlay.follow(members)
            with trio.fail_after(_PATIENCE):
                for overlay, _ in nodes.values():
                    await _reaches(overlay, len(names) - 1)
            for number in range(times):
                overlay, _ = nodes[names[number % len(names)]]
                began = time.perf_counter()
                reached = await overlay.broadcast(TOPIC, MESSAGE, deadline=trio.current_time() + 10)
                took.append(time.perf_counter() - began)
                if reached.missed:
                    raise RuntimeError(f"a broadcast did not reach {', '.join(reached.missed)}")
            scope.cancel()  # nobody says goodbye
    return took


@asynccontextmanager
async def _node(
    folder: pathlib.Path, name: str, topology: Topology
) -> AsyncGenerator[tuple[SwarmOverlay, str]]:
    tls = NodeTlsSettings(cert=f"{name}.pem", key=f"{name}.key", ca="ca.pem")
    who = Identity(tls, folder)
    overlay = SwarmOverlay(
        name,
        topology,
        sign=who.sign,
        verify=who.verify,
        certificate=who.certificate,
        learn=who.learn,
    )
    async with open_ports("127.0.0.1:0") as (listener, _, address):
        node = Node(cluster="benchmark", address=str(address))
        async with (
            open_links(
                who, node, overlay, listeners=[listener], connect=connect_tcp, settings=_LINKS
            ) as links,
            overlay.running(links),
            overlay.listen(TOPIC, _ignored),
        ):
            yield overlay, str(address)


def _ignored(node: str, message: bytes) -> None:
    """It has come, and that is confirmed."""


async def _reaches(overlay: SwarmOverlay, others: int) -> None:
    async with aclosing(overlay.changes()) as changes:
        async for _ in changes:
            if len(overlay.reachable()) == others:
                return
