"""Links on the simulated network that plugin authors get: cuts, loss and delay, in virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from flowcore.swarm import MOST_CHUNK, Lane
from flowcore.swarm.links import LinkSettings, Node, OpenLinks, open_links
from flowcore.testing import Link as Between
from flowcore.testing import Wires, uniform
from support.linked import User, everything, identity


@asynccontextmanager
async def on(wires: Wires, name: str) -> AsyncGenerator[tuple[OpenLinks, User]]:
    """A node on simulated wires; its address is its name."""
    user = User()
    async with open_links(
        identity(name),
        Node(cluster="test", address=f"{name}:1"),
        user,
        listeners=[wires.listen(name)],
        connect=lambda address: wires.connect(name, address.partition(":")[0]),
        settings=LinkSettings(),
        chance=random.Random(name),
    ) as links:
        yield links, user


@pytest.mark.parametrize("one_way", [False, True])
async def test_a_cut_is_noticed_in_its_time_and_healed(
    one_way: bool, autojump_clock: MockClock
) -> None:
    wires = Wires(seed=1)
    async with on(wires, "alpha") as (alpha, user), on(wires, "beta") as (beta, other):
        alpha.want({"beta": "beta:1"})
        beta.want({"alpha": "alpha:1"})
        await user.until(lambda: bool(alpha.up()))
        await other.until(lambda: bool(beta.up()))
        await trio.sleep(10)
        began = trio.current_time()
        wires.links.cut("alpha", "beta")
        if not one_way:
            wires.links.cut("beta", "alpha")
        await alpha.up()["beta"].down.wait()
        assert 4 <= trio.current_time() - began <= 7
        await trio.sleep(30)
        assert not alpha.up()
        assert not beta.up()
        wires.links.heal()
        began = trio.current_time()
        await user.until(lambda: bool(alpha.up()))
        await other.until(lambda: bool(beta.up()))
        assert trio.current_time() - began <= 11  # a dial that was under way has its five seconds
        await trio.sleep(30)
        assert user.events == [("up", "beta"), ("down", "beta"), ("up", "beta")]
        assert other.events == [("up", "alpha"), ("down", "alpha"), ("up", "alpha")]


async def test_round_trips_are_those_of_the_wires_and_streams_are_whole(
    autojump_clock: MockClock,
) -> None:
    wires = Wires(seed=1, link=Between(latency=uniform(0.03, 0.07), loss=0.05))
    async with on(wires, "alpha") as (alpha, _), on(wires, "beta"):
        alpha.want({"beta": "beta:1"})
        link = await alpha.dial("beta:1")
        async with await link.open(Lane.BULK, b"") as stream, trio.open_nursery() as nursery:

            async def send() -> None:
                for number in range(20):
                    await stream.send(bytes([number]) * MOST_CHUNK)
                await stream.finish()

            nursery.start_soon(send)
            found = await everything(stream)
        assert found == b"".join(bytes([number]) * MOST_CHUNK for number in range(20))
        await trio.sleep(60)
        assert link.rtt is not None
        assert 0.06 <= link.rtt <= 0.5
