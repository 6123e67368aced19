"""What holds whatever is cut, crashed, restarted and switched, from many seeds, in virtual time."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.mesh import Mesh
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.errors import StreamBroken, Unreachable
from flowcore.swarm import Stream, Topology
from flowcore.swarm.overlay import OverlaySettings, SwarmOverlay
from flowcore.testing import Link, uniform
from support.swarms import Swarm, open_swarm

SETTINGS = OverlaySettings(patience=5.0)
LONGEST = 60.0
"""Virtual seconds that nothing takes longer than."""


def any_topology(chance: random.Random) -> Topology:
    return chance.choice(
        (
            Mesh(),
            Star(StarConfig()),
            Ring(RingConfig(successors=chance.randint(1, 3))),
            Hierarchical(HierarchicalConfig(branching=chance.randint(2, 4), levels=3)),
        )
    )


@attrs.define(eq=False)
class Seen:
    """What has happened, as the ends have seen it."""

    begun: dict[bytes, int] = attrs.field(factory=lambda: defaultdict(int))
    """How often each stream was served."""
    taken: dict[tuple[str, int], list[int]] = attrs.field(factory=lambda: defaultdict(list))
    """By the start that received: the numbers of messages, in their order, by sender's start."""
    sent: int = 0
    casts: dict[bytes, list[str]] = attrs.field(factory=lambda: defaultdict(list))
    opened: int = 0
    unreachable: list[bytes] = attrs.field(factory=list)
    """Those of which it was said that nothing has begun."""
    broken: int = 0
    failed: int = 0
    confirmed: int = 0
    missed: int = 0


def serving(seen: Seen):  # type: ignore[no-untyped-def]
    starts = iter(range(1, 10_000))

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        start = next(starts)

        async def serve(source: str, head: bytes, stream: Stream) -> None:
            seen.begun[head] += 1
            total = 0
            while (chunk := await stream.receive()) is not None:
                total += len(chunk)
                await stream.send(chunk[::-1])
            await stream.send(b"%d" % total)
            await stream.finish()

        def hear(source: str, data: bytes) -> None:
            sender, number = data.split(b" ")
            seen.taken[sender.decode(), start].append(int(number))

        def cast(source: str, data: bytes) -> None:
            seen.casts[data].append(f"{name}/{start}")

        async with (
            overlay.serve("turn", serve),
            overlay.listen("ordered", hear),
            overlay.listen("all", cast),
        ):
            yield

    return setup


async def streams(swarm: Swarm, seen: Seen, chance: random.Random, stop: trio.Event) -> None:
    """Open streams from anybody to anybody."""
    number = 0
    while not stop.is_set():
        await trio.sleep(chance.uniform(0, 0.3))
        if not swarm.nodes:
            continue
        one = chance.choice(sorted(swarm.nodes))
        other = chance.choice(sorted(swarm.present))
        number += 1
        head = b"%d-%d" % (id(chance), number)
        try:
            with trio.fail_after(LONGEST):
                stream = await swarm[one].open(other, "turn", head)
        except Unreachable:
            seen.unreachable.append(head)
            continue
        except StreamBroken:
            seen.broken += 1
            continue
        seen.opened += 1
        try:
            with trio.fail_after(LONGEST):
                async with stream:
                    chunks = [chance.randbytes(chance.choice((1, 100, 60_000))) for _ in range(8)]

                    async def feed(stream: Stream = stream, chunks: list[bytes] = chunks) -> None:
                        try:
                            for chunk in chunks:
                                await stream.send(chunk)
                            await stream.finish()
                        except StreamBroken:
                            pass

                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(feed)
                        for chunk in chunks:
                            assert await stream.receive() == chunk[::-1]
                        assert await stream.receive() == b"%d" % sum(map(len, chunks))
                        assert await stream.receive() is None
        except* StreamBroken:
            seen.broken += 1


async def ordered(swarm: Swarm, seen: Seen, chance: random.Random, stop: trio.Event) -> None:
    """Send messages that must arrive in order."""
    numbers: dict[tuple[str, int, str], int] = defaultdict(int)

    async def send(one: str, other: str, data: bytes) -> None:
        try:
            with trio.fail_after(LONGEST):
                await swarm[one].send(other, "ordered", data)
        except Unreachable:
            seen.failed += 1
        else:
            seen.confirmed += 1
            sender, number = data.split(b" ")
            assert any(
                int(number) in got for (by, _), got in seen.taken.items() if by == sender.decode()
            )

    async with trio.open_nursery() as nursery:
        while not stop.is_set():
            await trio.sleep(chance.uniform(0, 0.1))
            names = sorted(swarm.nodes)
            if len(names) < 2:
                continue
            one = chance.choice(names)
            other = chance.choice(sorted(swarm.present))
            boot = swarm[one]._ways.boot
            numbers[one, boot, other] += 1
            sender = f"{one}:{boot}:{other}"
            data = f"{sender} {numbers[one, boot, other]}".encode()
            nursery.start_soon(send, one, other, data)


async def casting(swarm: Swarm, seen: Seen, chance: random.Random, stop: trio.Event) -> None:
    """Send to all."""
    number = 0
    while not stop.is_set():
        await trio.sleep(chance.uniform(0, 1))
        if not swarm.nodes:
            continue
        one = chance.choice(sorted(swarm.nodes))
        number += 1
        data = b"cast %d" % number
        members = set(swarm[one]._ways.members) - {one}
        with trio.fail_after(LONGEST):
            reached = await swarm[one].broadcast("all", data, deadline=trio.current_time() + 2)
        assert set(reached.reached) | set(reached.missed) == members
        assert not set(reached.reached) & set(reached.missed)
        got = [one.split("/")[0] for one in seen.casts[data]]
        assert set(reached.reached) <= set(got)
        assert len(seen.casts[data]) == len(set(seen.casts[data]))  # once for each start
        seen.missed += len(reached.missed)


async def faults(swarm: Swarm, names: list[str], chance: random.Random, seconds: float) -> None:
    """Cut, heal, crash, restart, switch."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        await trio.sleep(chance.expovariate(1.5))
        what = chance.choice(("cut", "cut", "one way", "heal", "heal", "crash", "start", "switch"))
        one, other = chance.sample(names, 2)
        if what == "cut":
            swarm.net.links.separate(one, other)
        elif what == "one way":
            swarm.net.links.cut(one, other)
        elif what == "heal":
            swarm.net.links.heal()
        elif what == "crash" and len(swarm.nodes) > 3 and one in swarm.nodes:
            swarm.crash(one, silent=chance.random() < 0.5, known=chance.random() < 0.5)
        elif what == "start":
            for name in names:
                if name not in swarm.nodes:
                    await swarm.start(name)
                    break
        elif what == "switch":
            swarm.use(any_topology(chance))


async def run(seed: int) -> Seen:
    chance = random.Random(seed)
    names = [f"n{number:02d}" for number in range(chance.randint(4, 9))]
    seen = Seen()
    async with open_swarm(
        names,
        any_topology(chance),
        seed=seed,
        settings=SETTINGS,
        setup=serving(seen),
        calm=0.0,
        link=Link(latency=uniform(*chance.choice(((0.0, 0.001), (0.001, 0.01), (0.02, 0.1))))),
    ) as swarm:
        stop = trio.Event()
        with trio.fail_after(600):
            async with trio.open_nursery() as nursery:
                for what in (streams, streams, ordered, casting):
                    nursery.start_soon(what, swarm, seen, random.Random(chance.random()), stop)
                await faults(swarm, names, chance, 15)
                stop.set()
        swarm.net.links.heal()
        for name in names:
            if name not in swarm.nodes:
                await swarm.start(name)
        await swarm.settled(20)
        for one in names:
            for other in names:
                async with await swarm[one].open(
                    other, "turn", f"{one} {other}".encode()
                ) as stream:
                    await stream.finish()
                    assert await stream.receive() == b"0"
                    assert await stream.receive() is None
            await swarm[one].send(names[0], "ordered", f"{one}-last 1".encode())
            reached = await swarm[one].broadcast(
                "all", one.encode(), deadline=trio.current_time() + 5
            )
            assert reached.missed == ()
        for got in seen.taken.values():
            assert got == sorted(set(got))  # in order, and none twice
        assert all(count <= 1 for count in seen.begun.values())
        assert not any(seen.begun.get(head) for head in seen.unreachable)
        for name in names:
            status = swarm[name].status()
            assert status["malformed"] == 0, status
            assert status["unproven"] == 0 or swarm.starts > len(names), status
            assert status["unconfirmed"] == 0
        await trio.sleep(20)
        for name in names:
            assert swarm[name].status()["streams"] == 0, swarm[name].status()
            assert swarm[name].status()["links"]["spare"] == [], swarm[name].status()
        assert swarm.net.worst <= 256 * 1024
    return seen


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_each_promise_is_kept(seed: int, autojump_clock: object) -> None:
    seen = await run(seed)
    assert seen.opened
    assert seen.confirmed
