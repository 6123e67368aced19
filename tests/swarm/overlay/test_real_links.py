"""Overlays on real links: sockets, TLS and certificates."""

from __future__ import annotations

import pathlib
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.errors import StreamBroken
from flowcore.swarm import Stream, Topology
from flowcore.swarm.links import Node, connect_tcp, open_links, open_ports
from flowcore.swarm.overlay import OverlaySettings, SwarmOverlay
from support.linked import QUICK, identity, make_certificates

NAMES = ("alpha", "beta", "delta", "epsilon", "gamma")
STAR, RING = Star(StarConfig()), Ring(RingConfig(successors=1))
TREE = Hierarchical(HierarchicalConfig(branching=2))


@asynccontextmanager
async def open_node(
    name: str, folder: pathlib.Path, topology: Topology
) -> AsyncGenerator[tuple[SwarmOverlay, str]]:
    who = identity(name, folder)

    async def echo(source: str, head: bytes, stream: Stream) -> None:
        while (chunk := await stream.receive()) is not None:
            await stream.send(head + chunk)
        await stream.finish()

    overlay = SwarmOverlay(
        name,
        topology,
        sign=who.sign,
        verify=who.verify,
        certificate=who.certificate,
        learn=who.learn,
        chance=random.Random(name),
        settings=OverlaySettings(detour_after=0.1, retire_after=0.1),
    )
    async with open_ports("127.0.0.1:0") as (listener, _, address):
        about = Node(cluster="test", address=str(address))
        async with (
            open_links(
                who, about, overlay, listeners=[listener], connect=connect_tcp, settings=QUICK
            ) as links,
            overlay.running(links),
            overlay.serve("echo", echo),
        ):
            yield overlay, str(address)


async def until_reachable(overlay: SwarmOverlay, names: set[str]) -> None:
    with trio.fail_after(30):
        async with aclosing(overlay.changes()) as changes:
            async for _ in changes:
                if set(overlay.reachable()) == names - {overlay.name}:
                    return


async def ask(overlay: SwarmOverlay, node: str) -> None:
    with trio.fail_after(30):
        async with await overlay.open(node, "echo", b"hear: ") as stream, trio.open_nursery() as n:

            async def feed() -> None:
                for _ in range(10):
                    await stream.send(bytes(50_000))
                await stream.finish()

            n.start_soon(feed)
            for _ in range(10):
                assert await stream.receive() == b"hear: " + bytes(50_000)
            assert await stream.receive() is None


@pytest.mark.parametrize("topology", [STAR, RING, TREE], ids=["star", "ring", "tree"])
async def test_all_reach_all_also_when_one_in_the_middle_is_gone(
    tmp_path: pathlib.Path, topology: Topology
) -> None:
    folder = make_certificates(tmp_path / "certs", *NAMES)
    middle = max(NAMES, key=lambda name: len(topology.neighbours(name, NAMES)))
    nodes: dict[str, tuple[SwarmOverlay, str]] = {}
    scopes: dict[str, trio.CancelScope] = {}

    async def run(name: str, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as scopes[name]:
            async with open_node(name, folder, topology) as nodes[name]:
                task_status.started()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for name in NAMES:
            await nursery.start(run, name)
        members = {name: address for name, (_, address) in nodes.items()}
        for overlay, _ in nodes.values():
            overlay.follow(members)
        for overlay, _ in nodes.values():
            await until_reachable(overlay, set(NAMES))
        for one in NAMES:
            for other in NAMES:
                await ask(nodes[one][0], other)
        gamma = nodes["gamma"][0]
        reached = await gamma.broadcast("news", b"", deadline=trio.current_time() + 0.5)
        assert reached.reached == ()  # nobody listens

        scopes[middle].cancel()
        left = set(NAMES) - {middle}  # of whom nobody was told that it is no member any more
        for name in left:
            await until_reachable(nodes[name][0], left)
            assert set(nodes[name][0].unreachable()) == {middle}
        for one in left:
            for other in left:
                await ask(nodes[one][0], other)
        for name in left:
            status = nodes[name][0].status()
            assert status["unproven"] == status["malformed"] == 0
        nursery.cancel_scope.cancel()


async def test_who_has_said_all_and_leaves_lets_go_of_the_whole_way(tmp_path: pathlib.Path) -> None:
    """A relay, and the one who serves, come to an end though nobody reads the answer."""
    folder = make_certificates(tmp_path / "certs", *NAMES)
    served = trio.Event()

    async def talk(source: str, head: bytes, stream: Stream) -> None:
        while await stream.receive() is not None:
            pass
        with pytest.raises(StreamBroken, match="the other side takes nothing more"):
            while True:
                await stream.send(bytes(50_000))
        served.set()

    async with (
        open_node("alpha", folder, STAR) as (hub, at_hub),
        open_node("beta", folder, STAR) as (beta, at_beta),
        open_node("gamma", folder, STAR) as (gamma, at_gamma),
    ):
        members = {"alpha": at_hub, "beta": at_beta, "gamma": at_gamma}
        for overlay in (hub, beta, gamma):
            overlay.follow(members)
        for overlay in (hub, beta, gamma):
            await until_reachable(overlay, set(members))
        async with gamma.serve("talk", talk):
            with trio.fail_after(30):
                async with await beta.open("gamma", "talk", b"") as stream:
                    await stream.send(b"go on")
                    await stream.finish()
                await served.wait()
                while any(overlay.status()["streams"] for overlay in (hub, beta, gamma)):
                    await trio.lowlevel.checkpoint()
