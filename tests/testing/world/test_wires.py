"""Connections and datagrams in memory: streams as trio's own, and whatever the links do to them."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import trio
import trio.testing

from flowcore.testing import Link, Wires, WireStream, constant, uniform


async def pair(wires: Wires) -> tuple[WireStream, WireStream]:
    async with wires.listen("b") as listener:
        one = await wires.connect("a", "b")
        return one, await listener.accept()


async def test_they_are_streams_as_trio_wants_them() -> None:
    wires = Wires(link=Link(latency=constant(0.0)), capacity=4096)

    async def clogged() -> tuple[WireStream, WireStream]:
        one, other = await pair(wires)
        for end in (one, other):
            await end.send_all(bytes(4096))
        return one, other

    await trio.testing.check_half_closeable_stream(partial(pair, wires), clogged)


async def test_a_message_takes_its_latency_in_order(autojump_clock: trio.testing.MockClock) -> None:
    wires = Wires(3, link=Link(latency=uniform(0.1, 0.9)))
    one, other = await pair(wires)
    before = trio.current_time()
    for number in range(50):
        await one.send_all(b"%03d" % number)
    found = b""
    while len(found) < 150:
        found += await other.receive_some()
    assert found == b"".join(b"%03d" % number for number in range(50))
    assert 0.5 < trio.current_time() - before <= 0.9
    await one.send_eof()
    assert await other.receive_some() == b""
    assert (other.name, other.peer) == ("b", "a")


async def test_loss_makes_a_stream_late_and_a_cut_makes_it_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wires = Wires(1, link=Link(latency=constant(0.0), loss=0.5))
    one, other = await pair(wires)
    before = trio.current_time()
    for _ in range(100):
        await one.send_all(b"x")
        assert await other.receive_some() == b"x"
    assert 10 < trio.current_time() - before < 30  # 100 times 0.2 s, on average
    wires.links.set_all(Link(latency=constant(0.0)))
    wires.links.cut("a", "b")
    await one.send_all(b"held up")
    await other.send_all(b"the way back is open")
    assert await one.receive_some() == b"the way back is open"
    with trio.move_on_after(60) as scope:
        await other.receive_some()
    assert scope.cancelled_caught
    wires.links.heal()
    assert await other.receive_some() == b"held up"


async def test_who_sends_more_than_can_be_under_way_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wires = Wires(link=Link(latency=constant(0.5)), capacity=1000)
    one, other = await pair(wires)
    with trio.move_on_after(100) as scope:
        while True:
            await one.send_all(bytes(100))
    assert scope.cancelled_caught
    found = 0
    with trio.move_on_after(1):
        while True:
            found += len(await other.receive_some())
    assert found == 1000


async def test_reset_and_crash_break_what_stands(autojump_clock: trio.testing.MockClock) -> None:
    wires = Wires()
    one, other = await pair(wires)
    assert wires.reset("a", "c") == 0
    assert wires.reset("a", "b") == 1
    for end in (one, other):
        with pytest.raises(trio.BrokenResourceError):
            await end.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await end.send_all(b"x")
        await end.aclose()
    listener = wires.listen("b", "gossip")
    with pytest.raises(OSError, match="listens for 'gossip' already"):
        wires.listen("b", "gossip")
    one = await wires.connect("a", "b", "gossip")
    async with trio.open_nursery() as nursery:
        box = wires.datagrams("b")

        async def hear() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await box.receive()

        nursery.start_soon(hear)
        await trio.testing.wait_all_tasks_blocked()
        wires.crash("b")
    with pytest.raises(trio.BrokenResourceError):
        await one.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(OSError, match="'b' takes no connection for 'gossip'"):
        await wires.connect("a", "b", "gossip")
    async with wires.listen("b", "gossip"):  # it is there again
        await wires.connect("a", "b", "gossip")


async def test_connecting_waits_for_the_way_there_and_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    wires = Wires(link=Link(latency=constant(0.1)))
    async with wires.listen("b"):
        before = trio.current_time()
        await wires.connect("a", "b")
        assert trio.current_time() - before == pytest.approx(0.2)
        for cut in (("a", "b"), ("b", "a")):
            wires.links.cut(*cut)
            with trio.move_on_after(10) as scope:
                await wires.connect("a", "b")
            assert scope.cancelled_caught
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wires.connect, "a", "b")
                await trio.sleep(1)
                wires.links.mend(*cut)


async def test_datagrams_are_lost_doubled_and_overtaken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    link = Link(latency=uniform(0.01, 0.05), loss=0.2, duplicate=0.2)
    wires = Wires(9, link=link)
    async with wires.datagrams("a") as a, wires.datagrams("b") as b:
        for number in range(1000):
            a.send("b", b"%d" % number)
        a.send("nobody", b"x")
        found: list[int] = []
        with trio.move_on_after(1):
            while True:
                sender, data = await b.receive()
                assert sender == "a"
                found.append(int(data))
        times = Counter(found)
        assert 700 < len(times) < 900
        assert found != sorted(found)
        assert 100 < sum(1 for count in times.values() if count == 2) < 250
        with pytest.raises(OSError, match="'a' has its datagrams already"):
            wires.datagrams("a")
        for _ in range(30):
            for number in range(1000):
                a.send("b", b"%d" % number)
        assert b.dropped > 0
    with pytest.raises(trio.ClosedResourceError):
        a.send("b", b"x")


async def test_a_crowded_door_refuses() -> None:
    wires = Wires(link=Link(latency=constant(0.0)), backlog=2)
    async with wires.listen("b"):
        for _ in range(2):
            await wires.connect("a", "b")
        with pytest.raises(OSError, match="takes no connection"):
            await wires.connect("a", "b")
    with pytest.raises(ValueError, match="expected at least 1, not 0 bytes"):
        Wires(capacity=0)
