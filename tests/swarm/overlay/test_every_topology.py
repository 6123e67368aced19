"""What the overlay gives, the same in each topology."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.mesh import Mesh
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.swarm import Lane, Stream, Topology
from flowcore.swarm.overlay import SwarmOverlay
from support.swarms import Swarm, open_swarm

TOPOLOGIES: dict[str, Topology] = {
    "mesh": Mesh(),
    "star": Star(StarConfig()),
    "ring": Ring(RingConfig(successors=1)),
    "hierarchical": Hierarchical(HierarchicalConfig(branching=2)),
}
NAMES = [f"n{number}" for number in range(7)]
each = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
Got = dict[str, list[tuple[str, bytes]]]


@asynccontextmanager
async def echoing(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
    async def echo(source: str, head: bytes, stream: Stream) -> None:
        await stream.send(f"{name} hears {source}: ".encode() + head)
        while (chunk := await stream.receive()) is not None:
            await stream.send(chunk)
        await stream.finish()

    async with overlay.serve("echo", echo):
        yield


def listening(got: Got):  # type: ignore[no-untyped-def]
    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        def hear(source: str, data: bytes) -> None:
            got[name].append((source, data))

        async with overlay.listen("t", hear):
            yield

    return setup


def assert_nothing_went_wrong(swarm: Swarm) -> None:
    for name in swarm.nodes:
        status = swarm[name].status()
        for what in ("unproven", "malformed", "gaps", "duplicates", "looped", "dropped"):
            assert status[what] == 0, f"{name}: {what}: {status}"


@each
async def test_any_node_opens_streams_to_any(topology: Topology, autojump_clock: object) -> None:
    async with open_swarm(NAMES, topology, setup=echoing) as swarm:
        for one in NAMES:
            for other in NAMES:
                async with await swarm[one].open(other, "echo", b"hello") as stream:
                    assert stream.peer == other
                    assert await stream.receive() == f"{other} hears {one}: hello".encode()
                    await stream.send(b"x" * 1000)
                    assert await stream.receive() == b"x" * 1000
                    await stream.finish()
                    assert await stream.receive() is None
        assert_nothing_went_wrong(swarm)


@each
async def test_messages_come_once_and_in_order(topology: Topology, autojump_clock: object) -> None:
    got: Got = defaultdict(list)
    async with open_swarm(NAMES, topology, setup=listening(got)) as swarm:
        async with trio.open_nursery() as nursery:

            async def send(one: str, other: str) -> None:
                for number in range(5):
                    await swarm[one].send(other, "t", b"%d" % number)

            for one in NAMES:
                for other in NAMES:
                    nursery.start_soon(send, one, other)
        for name in NAMES:
            for one in NAMES:
                assert [data for by, data in got[name] if by == one] == [
                    b"0",
                    b"1",
                    b"2",
                    b"3",
                    b"4",
                ]
        assert_nothing_went_wrong(swarm)


@each
async def test_posts_come_where_nothing_is_lost(topology: Topology, autojump_clock: object) -> None:
    got: Got = defaultdict(list)
    async with open_swarm(NAMES, topology, setup=listening(got)) as swarm:
        for one in NAMES:
            for other in NAMES:
                assert swarm[one].post(other, "t", b"m", Lane.GOSSIP)
        await trio.sleep(1)
        for name in NAMES:
            assert sorted(got[name]) == [(one, b"m") for one in NAMES]
        assert_nothing_went_wrong(swarm)


@each
async def test_a_broadcast_reaches_each_other_once(
    topology: Topology, autojump_clock: object
) -> None:
    got: Got = defaultdict(list)
    async with open_swarm(NAMES, topology, setup=listening(got)) as swarm:
        async with trio.open_nursery() as nursery:

            async def cast(one: str) -> None:
                reached = await swarm[one].broadcast("t", b"all", deadline=trio.current_time() + 5)
                assert reached.reached == tuple(name for name in NAMES if name != one)
                assert reached.missed == ()

            for one in NAMES:
                nursery.start_soon(partial(cast, one))
        for name in NAMES:
            assert sorted(got[name]) == [(one, b"all") for one in NAMES if one != name]
        assert_nothing_went_wrong(swarm)


@each
async def test_hops_are_those_of_the_topology(topology: Topology, autojump_clock: object) -> None:
    async with open_swarm(NAMES, topology) as swarm:
        for name in NAMES:
            assert max(swarm[name].reachable().values()) <= topology.reach(len(NAMES))
            assert set(swarm.nodes[name].links.up()) == set(topology.neighbours(name, NAMES))
