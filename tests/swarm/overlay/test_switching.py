"""A topology is switched, and members come and go, and no request is lost."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.mesh import Mesh
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.swarm import Stream, Topology
from flowcore.swarm.overlay import SwarmOverlay
from support.swarms import Swarm, open_swarm

NAMES = [f"n{number:02d}" for number in range(8)]
TOPOLOGIES: list[Topology] = [
    Mesh(),
    Star(StarConfig(hub="n03")),
    Ring(RingConfig(successors=1)),
    Hierarchical(HierarchicalConfig(branching=2)),
    Star(StarConfig(hub="n07")),
    Ring(RingConfig(successors=2)),
]


@asynccontextmanager
async def serving(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
    async def serve(source: str, head: bytes, stream: Stream) -> None:
        while (chunk := await stream.receive()) is not None:
            await stream.send(chunk)
        await stream.finish()

    async with overlay.serve("echo", serve):
        yield


async def requests(swarm: Swarm, name: str, chance: random.Random, stop: trio.Event) -> int:
    """Requests of a node, one after the other, some of which take their time; how many were answered."""
    count = 0
    while not stop.is_set():
        other = chance.choice(NAMES)
        with trio.fail_after(20):
            async with await swarm[name].open(other, "echo", b"") as stream:
                for number in range(3):
                    await stream.send(b"%d" % number)
                    assert await stream.receive() == b"%d" % number
                    await trio.sleep(chance.choice((0, 0.05, 0.2, 1)))
                await stream.finish()
                assert await stream.receive() is None
        count += 1
    return count


def links(swarm: Swarm) -> set[tuple[str, str]]:
    return {(one, other) for one, node in swarm.nodes.items() for other in node.links.up()}


@pytest.mark.parametrize("seed", range(3))
async def test_switching_topology_under_load_loses_no_request(
    seed: int, autojump_clock: object
) -> None:
    chance = random.Random(seed)
    async with open_swarm(NAMES, TOPOLOGIES[0], seed=seed, setup=serving) as swarm:
        stop = trio.Event()
        answered = 0

        async def ask(name: str) -> None:
            nonlocal answered
            count = await requests(swarm, name, random.Random(chance.random()), stop)
            answered += count

        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(ask, name)
            for topology in (*TOPOLOGIES, *chance.sample(TOPOLOGIES, len(TOPOLOGIES))):
                # nodes hear of it one after the other, and not long before the next switch
                names = chance.sample(NAMES, len(NAMES))
                swarm.topology = topology
                for name in names:
                    swarm[name].use(topology)
                    await trio.sleep(chance.choice((0, 0.01, 0.3)))
                await trio.sleep(chance.choice((0, 1, 5)))
            await trio.sleep(10)
            stop.set()
        assert answered > 100
        await trio.sleep(10)
        for name in NAMES:
            status = swarm[name].status()
            assert status["looped"] == 0
            assert status["links"]["spare"] == []
        # and the links are those of the topology: the old ones are gone
        wanted = {(one, other) for one in NAMES for other in swarm.topology.neighbours(one, NAMES)}
        assert links(swarm) == wanted


async def test_a_switch_keeps_an_old_link_as_long_as_a_stream_goes_over_it(
    autojump_clock: object,
) -> None:
    async with open_swarm(NAMES, Star(StarConfig(hub="n00")), setup=serving) as swarm:
        async with await swarm["n01"].open("n05", "echo", b"") as stream:
            swarm.use(Star(StarConfig(hub="n02")))
            await trio.sleep(60)
            await stream.send(b"still there")
            assert await stream.receive() == b"still there"
            assert ("n01", "n00") in links(swarm)
            assert ("n04", "n00") not in links(swarm)
            await stream.finish()
            assert await stream.receive() is None
        await trio.sleep(10)
        assert ("n01", "n00") not in links(swarm)


async def test_who_comes_and_who_leaves_loses_no_request_of_others(autojump_clock: object) -> None:
    for topology in TOPOLOGIES[1:4]:
        async with open_swarm(NAMES[1:], topology, setup=serving) as swarm:
            stop = trio.Event()

            async def ask(name: str, swarm: Swarm = swarm, stop: trio.Event = stop) -> None:
                chance = random.Random(name)
                while not stop.is_set():
                    await trio.sleep(chance.choice((0, 0.05, 0.2)))
                    other = chance.choice(NAMES[1:])
                    with trio.fail_after(20):
                        async with await swarm[name].open(other, "echo", b"") as stream:
                            await stream.finish()
                            assert await stream.receive() is None

            async with trio.open_nursery() as nursery:
                for name in NAMES[1:5]:
                    nursery.start_soon(ask, name)
                for _ in range(2):
                    await swarm.start(NAMES[0])
                    await trio.sleep(4)
                    # it leaves: the others know before it stops, and it goes on until they have moved
                    swarm.present.discard(NAMES[0])
                    swarm.tell()
                    await trio.sleep(4)
                    swarm.crash(NAMES[0])
                    await trio.sleep(1)
                stop.set()
