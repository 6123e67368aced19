"""What becomes of messages and streams when links and nodes are lost."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.mesh import Mesh
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.errors import StreamBroken, Unreachable
from flowcore.swarm import Lane, Stream, Topology
from flowcore.swarm.overlay import OverlaySettings, SwarmOverlay
from flowcore.testing import Link, constant
from support.swarms import Swarm, open_swarm

NAMES = [f"n{number}" for number in range(9)]
STAR = Star(StarConfig())
RING = Ring(RingConfig(successors=1))
TREE = Hierarchical(HierarchicalConfig(branching=2))
TOPOLOGIES: dict[str, Topology] = {"mesh": Mesh(), "star": STAR, "ring": RING, "tree": TREE}
each = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)


@asynccontextmanager
async def echoing(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
    async def echo(source: str, head: bytes, stream: Stream) -> None:
        while (chunk := await stream.receive()) is not None:
            await stream.send(chunk)
        await stream.finish()

    async with overlay.serve("echo", echo):
        yield


async def ask(overlay: SwarmOverlay, node: str) -> None:
    async with await overlay.open(node, "echo", b"") as stream:
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        await stream.finish()
        assert await stream.receive() is None


def special(topology: Topology) -> str:
    """The node with the most links: the hub, the root or an inner node."""
    return max(NAMES, key=lambda name: len(topology.neighbours(name, NAMES)))


@each
@pytest.mark.parametrize("silent", [False, True], ids=["killed", "hung"])
async def test_who_loses_its_special_place_is_served_again_before_anybody_is_told(
    topology: Topology, silent: bool, autojump_clock: object
) -> None:
    """On links that find out within half a second, requests among the living succeed within two."""
    async with open_swarm(NAMES, topology, setup=echoing) as swarm:
        swarm.crash(special(topology), silent=silent, known=False)
        began = trio.current_time()

        async def until_served(one: str, other: str) -> None:
            while True:
                try:
                    await ask(swarm[one], other)
                    break
                except (Unreachable, StreamBroken):
                    await trio.sleep(0.05)
            assert trio.current_time() - began < 2

        async with trio.open_nursery() as nursery:
            for one in swarm.nodes:
                for other in swarm.nodes:
                    nursery.start_soon(until_served, one, other)
        await trio.sleep(1)
        for one in swarm.nodes:
            assert set(swarm[one].unreachable()) == swarm.present - set(swarm.nodes)


@each
async def test_a_cut_between_two_is_gone_around(topology: Topology, autojump_clock: object) -> None:
    for both in (True, False):
        async with open_swarm(NAMES, topology, setup=echoing) as swarm:
            one = special(topology)
            other = topology.neighbours(one, NAMES)[0]
            swarm.net.links.cut(one, other)
            if both:
                swarm.net.links.cut(other, one)
            await trio.sleep(3)
            for name in NAMES:
                assert swarm[name].unreachable() == {}
                for target in NAMES:
                    await ask(swarm[name], target)
            assert swarm[one].reachable()[other] > 1
            # healed, it is used again, and what was made instead is let go
            swarm.net.links.heal()
            await trio.sleep(15)
            assert swarm[one].reachable()[other] == 1
            for name in NAMES:
                assert swarm.nodes[name].links.up().keys() == set(topology.neighbours(name, NAMES))


async def test_who_is_cut_off_is_known_by_name_and_since_when(autojump_clock: object) -> None:
    async with open_swarm(NAMES, STAR, setup=echoing) as swarm:
        away = NAMES[4:]
        for one in NAMES[:4]:
            for other in away:
                swarm.net.links.separate(one, other)
        began = trio.current_time()
        await trio.sleep(5)
        for name in NAMES[:4]:
            lost = swarm[name].unreachable()
            assert sorted(lost) == away
            assert all(began <= since < began + 2 for since in lost.values())
            assert set(swarm[name].reachable()) == set(NAMES[:4]) - {name}
            for other in NAMES[:4]:
                await ask(swarm[name], other)  # each side goes on with what it has
        for name in away:
            assert sorted(swarm[name].unreachable()) == NAMES[:4]
            for other in away:
                await ask(swarm[name], other)
        at = trio.current_time()
        with pytest.raises(Unreachable, match="no way leads to 'n8' now"):
            await swarm["n0"].open("n8", "echo", b"")
        assert trio.current_time() == at  # it has been away for long: nobody waits for it
        assert not swarm["n0"].post("n8", "t", b"", Lane.GOSSIP)
        swarm.net.links.heal()
        await swarm.settled(5)


async def test_who_has_just_become_unreachable_is_waited_for_a_little(
    autojump_clock: object,
) -> None:
    async with open_swarm(["n0", "n1"], RING, setup=echoing) as swarm:
        swarm.net.links.separate("n0", "n1")
        await trio.sleep(0.6)
        assert "n1" in swarm["n0"].unreachable()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, swarm["n0"], "n1")
            await trio.sleep(0.3)
            swarm.net.links.heal()


def far_apart(topology: Topology) -> tuple[str, str, str]:
    """Two nodes, and one on the way between them."""
    for one in NAMES:
        for other in NAMES:
            hops = topology.next_hops(one, other, NAMES)
            if hops and hops[0] != other:
                return one, other, hops[0]
    raise AssertionError


@each
async def test_a_way_that_breaks_breaks_the_stream_at_both_ends(
    topology: Topology, autojump_clock: object
) -> None:
    if isinstance(topology, Mesh):
        return
    one, other, between = far_apart(topology)
    served: list[str] = []

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        async def serve(source: str, head: bytes, stream: Stream) -> None:
            try:
                await stream.receive()
            except StreamBroken as error:
                served.append(str(error))
                assert stream.broken.is_set()
                raise

        async with overlay.serve("wait", serve):
            yield

    async with open_swarm(NAMES, topology, setup=setup) as swarm:
        async with await swarm[one].open(other, "wait", b"") as stream:
            await trio.testing.wait_all_tasks_blocked()
            swarm.crash(between)
            began = trio.current_time()
            with pytest.raises(StreamBroken, match="the connection was closed"):
                await stream.receive()
            assert stream.broken.is_set()
            with pytest.raises(StreamBroken):
                await stream.send(b"")
            await trio.sleep(0.1)
            assert trio.current_time() - began < 0.2
        assert served == ["the connection was closed"]
        await trio.sleep(0.1)
        assert all(swarm[name].status()["streams"] == 0 for name in swarm.nodes)


async def test_a_reset_travels_with_its_reason_also_while_the_way_is_full(
    autojump_clock: object,
) -> None:
    one, other, between = far_apart(RING)
    ended = trio.Event()
    reasons: list[str] = []

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        async def serve(source: str, head: bytes, stream: Stream) -> None:
            await stream.broken.wait()  # it reads nothing
            try:
                await stream.receive()
            except StreamBroken as error:
                reasons.append(str(error))
                ended.set()

        async with overlay.serve("deaf", serve):
            yield

    async with open_swarm(NAMES, RING, setup=setup) as swarm:
        # reset by its opener, while every window on the way is full
        stream = await swarm[one].open(other, "deaf", b"")
        sent = 0
        with trio.move_on_after(60):
            while True:
                await stream.send(bytes(50_000))
                sent += 1
        assert 0 < sent < 40  # it was held back: nobody reads
        stream.reset("enough")
        with trio.fail_after(1):
            await ended.wait()
        assert reasons == ["enough"]
        # and left by whoever is cancelled
        ended = trio.Event()
        with trio.move_on_after(1):
            async with await swarm[one].open(other, "deaf", b"") as stream:
                await trio.sleep_forever()
        with trio.fail_after(1):
            await ended.wait()
        assert reasons[1] == "cancelled"
        await trio.sleep(0.1)
        assert swarm[between].status()["streams"] == 0


@pytest.mark.parametrize("after", [0.1, 0.6, 1.0])
async def test_an_open_to_one_who_is_lost_and_then_no_member_any_more_fails_soon(
    after: float, autojump_clock: object
) -> None:
    one, other, _ = far_apart(RING)
    async with open_swarm(NAMES, RING, setup=echoing) as swarm, trio.open_nursery() as nursery:
        swarm.crash(other, silent=True, known=False)

        async def leave() -> None:
            await trio.sleep(after)
            swarm.present.discard(other)
            swarm.tell()

        nursery.start_soon(leave)
        with trio.fail_after(10), pytest.raises((Unreachable, StreamBroken)):
            await swarm[one].open(other, "echo", b"")


async def test_what_is_whole_with_its_head_is_answered_in_one_round_trip(
    autojump_clock: object,
) -> None:
    one, *_ = far_apart(RING)
    link = Link(latency=constant(0.1))
    async with open_swarm(NAMES, RING, setup=echoing, link=link) as swarm:
        near = min(swarm[one].reachable(), key=swarm[one].reachable().__getitem__)
        began = trio.current_time()
        async with await swarm[one].open(near, "echo", b"asked", whole=True) as stream:
            assert await stream.receive() is None  # nothing was sent but the head
        assert trio.current_time() - began == pytest.approx(0.2)


async def test_an_open_that_is_cancelled_ends_there_too(autojump_clock: object) -> None:
    one, other, between = far_apart(RING)
    async with open_swarm(NAMES, RING, setup=echoing, link=Link(latency=constant(0.1))) as swarm:
        with trio.move_on_after(0.35) as scope:
            await swarm[one].open(other, "echo", b"")
        assert scope.cancelled_caught
        await trio.sleep(2)
        for name in (one, other, between):
            assert swarm[name].status()["streams"] == 0


@each
async def test_large_streams_pass_with_bounded_memory(
    topology: Topology, autojump_clock: object
) -> None:
    pairs = [(one, other) for one in NAMES for other in NAMES if one < other][:12]
    async with open_swarm(NAMES, topology, setup=echoing) as swarm:

        async def pass_through(one: str, other: str) -> None:
            chance = random.Random(one + other)
            chunks = [chance.randbytes(60_000) for _ in range(40)]
            async with await swarm[one].open(other, "echo", b"", Lane.BULK) as stream:
                async with trio.open_nursery() as nursery:

                    async def feed() -> None:
                        for chunk in chunks:
                            await stream.send(chunk)
                        await stream.finish()

                    nursery.start_soon(feed)
                    for chunk in chunks:
                        assert await stream.receive() == chunk
                        if chance.random() < 0.1:
                            await trio.sleep(0.5)  # a reader that is slow now and then
                    assert await stream.receive() is None

        async with trio.open_nursery() as nursery:
            for one, other in pairs:
                nursery.start_soon(pass_through, one, other)
        assert 100_000 < swarm.net.worst <= 256 * 1024


@each
async def test_ordered_messages_survive_the_loss_of_the_way(
    topology: Topology, autojump_clock: object
) -> None:
    got: dict[str, list[int]] = defaultdict(list)
    gaps: list[bytes] = []

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        async with (
            overlay.listen("t", lambda source, data: got[name].append(int(data))),
            overlay.listen("t/gap", lambda source, data: gaps.append(data)),
        ):
            yield

    async with open_swarm(NAMES, topology, setup=setup) as swarm:
        one, other = ("n0", "n5") if isinstance(topology, Mesh) else far_apart(topology)[:2]

        async def send() -> None:
            for number in range(200):
                await swarm[one].send(other, "t", b"%d" % number)
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            chance = random.Random(1)
            for _ in range(10):
                for hop in topology.next_hops(one, other, NAMES)[:1]:
                    swarm.net.links.cut(one, hop)
                    if chance.random() < 0.5:
                        swarm.net.links.cut(hop, one)
                await trio.sleep(chance.uniform(0.1, 1))
                swarm.net.links.heal()
                await trio.sleep(chance.uniform(0.1, 0.5))
        assert got[other] == list(range(200))
        assert gaps == []


async def test_a_restart_of_either_end_is_a_gap_that_both_hear_of(autojump_clock: object) -> None:
    heard: list[str] = []

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        async with (
            overlay.listen("t", lambda source, data: heard.append(f"{name}: {data.decode()}")),
            overlay.listen("t/gap", lambda source, data: heard.append(f"{name}: {data.decode()}")),
        ):
            yield

    async with open_swarm(["n0", "n1", "n2"], STAR, setup=setup) as swarm:
        await swarm["n1"].send("n2", "t", b"one")
        swarm.crash("n1", known=False)
        await swarm.start("n1")
        await swarm.settled()
        await swarm["n1"].send("n2", "t", b"two")
        assert heard == ["n2: one", "n2: 'n1' has begun anew: messages may be lost", "n2: two"]
        heard.clear()
        # the receiver takes it, and is gone before the sender hears of it
        swarm.net.links.cut("n2", "n0")
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(Unreachable, match="'n2' has restarted: it may have taken it"):
                    await swarm["n1"].send("n2", "t", b"three")

            nursery.start_soon(send)
            await trio.sleep(0.1)
            assert heard == ["n2: three"]
            swarm.crash("n2", known=False)
            swarm.net.links.heal()
            await swarm.start("n2")
        await swarm["n1"].send("n2", "t", b"four")
        assert heard[1:] == ["n2: messages of an earlier life may be lost", "n2: four"]


async def test_who_is_no_member_any_more_fails_what_waits_for_it(autojump_clock: object) -> None:
    async with open_swarm(["n0", "n1", "n2"], STAR) as swarm:
        swarm.net.links.isolate("n2")
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(Unreachable, match="is no member"):
                    await swarm["n1"].send("n2", "t", b"")

            for _ in range(300):  # more than may wait
                nursery.start_soon(send)
            await trio.sleep(1)
            swarm.crash("n2")
        with pytest.raises(Unreachable, match="'n2' is no member now"):
            await swarm["n1"].send("n2", "t", b"")
        with pytest.raises(Unreachable, match="'n2' is no member of the swarm now"):
            await swarm["n1"].open("n2", "echo", b"")


async def test_what_is_not_confirmed_in_time_is_given_up(autojump_clock: object) -> None:
    settings = OverlaySettings(patience=3.0)
    async with open_swarm(["n0", "n1"], STAR, settings=settings) as swarm:
        swarm.net.links.isolate("n1")
        began = trio.current_time()
        with pytest.raises(Unreachable, match="has not confirmed it within 3 s"):
            await swarm["n0"].send("n1", "t", b"")
        assert trio.current_time() - began == pytest.approx(3.0)


async def test_what_nobody_listens_to_or_serves_is_told(autojump_clock: object) -> None:
    async with open_swarm(["n0", "n1", "n2"], STAR) as swarm:
        for target in ("n1", "n2"):
            with pytest.raises(Unreachable, match="nobody listens"):
                await swarm["n1"].send(target, "t", b"")
            with pytest.raises(Unreachable, match="has no service 'echo'"):
                await swarm["n1"].open(target, "echo", b"")
        reached = await swarm["n1"].broadcast("t", b"", deadline=trio.current_time() + 1)
        assert reached.missed == ("n0", "n2")


@each
async def test_a_broadcast_says_whom_it_has_not_reached(
    topology: Topology, autojump_clock: object
) -> None:
    got: list[str] = []

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        async with overlay.listen("t", lambda source, data: got.append(name)):
            yield

    async with open_swarm(NAMES, topology, setup=setup) as swarm:
        lost = special(topology)
        one = next(name for name in NAMES if name != lost)
        swarm.crash(lost, silent=True, known=False)
        # nobody knows yet: its part of the tree is reached directly
        reached = await swarm[one].broadcast("t", b"", deadline=trio.current_time() + 5)
        assert reached.missed == (lost,)
        assert sorted(got) == sorted(reached.reached) == sorted(set(NAMES) - {one, lost})


async def test_changes_are_told_once_at_first_and_then_when_there_are_some(
    autojump_clock: object,
) -> None:
    seen: list[list[str]] = []
    async with open_swarm(NAMES[:4], STAR) as swarm:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in swarm["n1"].changes():
                    seen.append(sorted(swarm["n1"].reachable()))

            nursery.start_soon(watch)
            await trio.sleep(10)
            assert seen == [["n0", "n2", "n3"]]
            swarm.crash("n3")
            await trio.sleep(10)
            assert seen[1:] == [["n0", "n2"]]
            nursery.cancel_scope.cancel()
