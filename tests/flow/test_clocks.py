"""Nodes ask each other for the time: one that tells nonsense counts for nothing, and ends nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
import trio

from flow_topologies.star import Star, StarConfig
from flowcore.errors import SwarmError
from flowcore.federation import WrongMessage
from flowcore.flow.about import SERVICE as ABOUT
from flowcore.flow.about import asked
from flowcore.flow.clocks import SERVICE, keep_clock
from flowcore.flow.inquiry import ask
from flowcore.state import ClockTold
from flowcore.swarm import Stream
from support.swarms import open_swarm

STAR = Star(StarConfig(hub="mine"))
NAN, INFINITE = float("nan"), float("inf")
DEEP = b"\x93\xcb" + bytes(8) + b"\xc0" + b"\x91" * 200_000 + b"\xc0"
"""More than is expected, and deeper than anybody reads."""
NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "no MessagePack": b"\xc1",
    "cut off": b"\x92\xcb\x00",
    "deep": DEEP,
    **{
        str(said): msgspec.msgpack.encode(said)
        for said in (
            [],
            [1.0],
            ["now", None],
            [NAN, None],
            [1e9, NAN],
            [INFINITE, None],
            [1e9, INFINITE],
            [-1e300, None],
            [1e9, -5.0],
            [1e300, 1e300],
            {"wall": 1e9},
        )
    },
}


class Three:
    """A consensus of three nodes, as far as a clock asks."""

    def status(self) -> dict[str, Any]:
        return {"voters": ["mine", "right", "wrong"]}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
async def test_who_tells_nonsense_counts_for_nothing(said: bytes, autojump_clock: object) -> None:
    async def lie(node: str, head: bytes, stream: Stream) -> None:
        async with stream:
            if said:
                await stream.send(said)
            await stream.finish()

    async def tell(node: str, head: bytes, stream: Stream) -> None:
        async with stream:
            await stream.send(msgspec.msgpack.encode(ClockTold(2e9 - 100.0, 2e9 - 100.0)))
            await stream.finish()

    async with (
        open_swarm(["mine", "right", "wrong"], STAR) as swarm,
        contextlib.AsyncExitStack() as s,
    ):
        await s.enter_async_context(swarm["wrong"].serve(SERVICE, lie))
        await s.enter_async_context(swarm["wrong"].serve(ABOUT, lie))
        await s.enter_async_context(swarm["right"].serve(SERVICE, tell))
        with pytest.raises((WrongMessage, SwarmError)):
            await ask(swarm["mine"], "wrong", SERVICE, ClockTold)
        told = await asked(swarm["mine"], "wrong", lambda: 2e9)
        assert told["error"]
        clock = await s.enter_async_context(
            keep_clock(lambda: 2e9, Three(), swarm["mine"])  # type: ignore[arg-type]
        )
        with trio.fail_after(60):
            await clock.settled.wait()
        assert clock.offset == pytest.approx(-100.0, abs=2.0)
        assert clock() == pytest.approx(2e9 - 100.0, abs=2.0)


async def test_at_first_a_clock_goes_by_what_most_say(autojump_clock: object) -> None:
    """Of five, one other may have the wrong time: with a second one it is known which of them has."""

    class Five:
        def status(self) -> dict[str, Any]:
            return {"voters": ["mine", "right", "wrong", "gone", "lost"]}

    def tell(wall: float) -> Any:
        async def told(node: str, head: bytes, stream: Stream) -> None:
            async with stream:
                await stream.send(msgspec.msgpack.encode(ClockTold(wall, None)))
                await stream.finish()

        return told

    async with (
        open_swarm(["mine", "right", "wrong"], STAR) as swarm,
        contextlib.AsyncExitStack() as s,
    ):
        await s.enter_async_context(swarm["wrong"].serve(SERVICE, tell(2e9 - 100.0)))
        clock = await s.enter_async_context(
            keep_clock(lambda: 2e9, Five(), swarm["mine"])  # type: ignore[arg-type]
        )
        with trio.move_on_after(60) as scope:
            await clock.settled.wait()
        assert scope.cancelled_caught
        await s.enter_async_context(swarm["right"].serve(SERVICE, tell(2e9)))
        with trio.fail_after(60):
            await clock.settled.wait()
        assert clock.offset == pytest.approx(0.0, abs=1.0)


async def test_two_that_differ_wait_for_the_third_but_not_for_ever(autojump_clock: object) -> None:
    def tell(wall: float) -> Any:
        async def told(node: str, head: bytes, stream: Stream) -> None:
            async with stream:
                await stream.send(msgspec.msgpack.encode(ClockTold(wall, None, 1e9 + 7.0)))
                await stream.finish()

        return told

    async with open_swarm(["mine", "right", "wrong"], STAR) as swarm:
        for comes in (True, False):
            async with contextlib.AsyncExitStack() as s:
                await s.enter_async_context(swarm["wrong"].serve(SERVICE, tell(2e9 - 100.0)))
                clock = await s.enter_async_context(
                    keep_clock(lambda: 2e9, Three(), swarm["mine"])  # type: ignore[arg-type]
                )
                clock.seen(1e9)
                with trio.move_on_after(5) as scope:
                    await clock.settled.wait()
                assert scope.cancelled_caught
                if comes:
                    await s.enter_async_context(swarm["right"].serve(SERVICE, tell(2e9)))
                with trio.fail_after(60):
                    await clock.settled.wait()
                assert clock.offset == pytest.approx(0.0 if comes else -100.0, abs=1.0)
