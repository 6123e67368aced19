"""Links in memory keep what links promise, and fail as they are told to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from flowcore.errors import StreamBroken
from flowcore.swarm import MOST_CHUNK, Lane, Stream
from flowcore.swarm import Link as SwarmLink
from flowcore.testing import Link, NeighbourLinks, Neighbours, constant


class User:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.got: list[bytes] = []

    def link_up(self, link: SwarmLink) -> None:
        self.told.append(f"{link.peer} up")

    def link_down(self, link: SwarmLink, reason: str) -> None:
        self.told.append(f"{link.peer} down: {reason}")

    def message(self, link: SwarmLink, lane: Lane, message: bytes) -> None:
        self.got.append(message)

    async def stream(self, link: SwarmLink, lane: Lane, head: bytes, stream: Stream) -> None:
        while (chunk := await stream.receive()) is not None:
            await stream.send(head + chunk)
        await stream.finish()


@asynccontextmanager
async def linked(
    link: Link | None = None,
) -> AsyncGenerator[tuple[Neighbours, dict[str, User], dict[str, NeighbourLinks]]]:
    """Two nodes with a link."""
    net = Neighbours(3, link=link)
    async with trio.open_nursery() as nursery:
        users = {name: User() for name in ("a", "b")}
        links = {name: net.join(name, user, nursery) for name, user in users.items()}
        links["a"].want({"b": links["b"].address})
        await trio.sleep(1)
        assert users["a"].told == ["b up"]
        yield net, users, links
        nursery.cancel_scope.cancel()


async def test_messages_keep_their_order_over_a_link_that_loses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked(Link(loss=0.2)) as (_, users, links):
        sent = [b"%d" % number for number in range(200)]
        for one in sent:
            assert links["a"].up()["b"].post(Lane.CONTROL, one)
        await trio.sleep(10)
        assert users["b"].got == sent


async def test_a_short_cut_delays_and_a_long_one_is_the_end_on_both_sides(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked(Link(latency=constant(0.01))) as (net, users, links):
        net.links.cut("a", "b")
        links["a"].up()["b"].post(Lane.CONTROL, b"late")
        await trio.sleep(0.2)
        assert users["b"].got == []
        net.links.heal()
        await trio.sleep(1)
        assert users["b"].got == [b"late"]
        net.links.isolate("b")
        await trio.sleep(1)
        assert users["a"].told[-1] == "b down: no answer"
        assert users["b"].told[-1] == "a down: no answer"
        net.links.heal()
        await trio.sleep(1)
        assert users["a"].told[-1] == users["b"].told[-1].replace("a", "b") == "b up"


async def test_a_stream_has_credit_and_breaks_with_its_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked() as (net, users, links):
        stream = await links["a"].up()["b"].open(Lane.REQUESTS, b">")
        sent = 0
        with trio.move_on_after(5):
            while True:  # nobody reads what comes back
                await stream.send(bytes(MOST_CHUNK - 1))
                sent += 1
        assert 0 < sent < 20
        assert net.worst <= 256 * 1024
        links["b"].crash()
        with pytest.raises(StreamBroken, match="the connection was closed"):
            await stream.receive()
        assert users["a"].told[-1] == "b down: the connection was closed"


async def test_a_node_that_is_gone_without_a_word_is_found_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked() as (net, users, links):
        began = trio.current_time()
        links["b"].crash(silent=True)
        link = links["a"].up()["b"]
        await link.down.wait()
        assert trio.current_time() - began == net.dead_after
        async with trio.open_nursery() as nursery:
            net.join("b", users["b"], nursery)  # it begins again
            await trio.sleep(1)
            assert users["a"].told[-2:] == ["b down: no answer", "b up"]
            nursery.cancel_scope.cancel()
