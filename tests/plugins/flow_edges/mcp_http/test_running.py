"""Calls that speak and ask: bounds, ends, parking."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from msgspec import Raw

from flow_edges.mcp.parking import Parking, digest_of
from flow_edges.mcp.running import Running
from flowcore.errors import InvalidArguments, Overloaded


async def work() -> bytes:
    await trio.sleep_forever()
    raise AssertionError("unreachable")


async def test_what_a_call_says_is_bounded_and_nothing_comes_after_its_end() -> None:
    running = Running(backlog=2)
    for frame in (b"a", b"b", b"c"):
        running.emit(frame)
    assert (list(running.frames), running.dropped) == ([b"a", b"b"], 1)

    async def done() -> bytes:
        return b"{}"

    running.frames.clear()
    await running.run(done)
    running.emit(b"late")
    assert (list(running.frames), running.dropped) == ([], 2)
    assert running.result == b"{}"


async def test_a_fault_of_the_edge_is_an_error_without_its_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> bytes:
        raise ZeroDivisionError("secret")

    running = Running(backlog=2)
    await running.run(broken)
    assert running.error is not None
    assert running.error.wire() == {"code": -32603, "message": "internal error"}
    assert "secret" in caplog.text


async def test_a_call_asks_a_bounded_number_of_things() -> None:
    running = Running(backlog=2)
    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(running.ask, "roots/list", Raw(b"{}"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await running.ask("roots/list", Raw(b"{}"))
        nursery.cancel_scope.cancel()
    assert running.questions == {}


async def test_a_parked_call_whose_client_stays_away_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    parking = Parking(most=1, seconds=60)
    running = Running(backlog=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, work)
        state = parking.park(running, ("token", "ann"), b"digest")
        assert parking.owns(state)
        assert not Parking(most=1, seconds=60).owns(state)
        with pytest.raises(Overloaded):
            parking.park(Running(backlog=2), ("token", "ann"), b"digest")
        for owner, digest in (
            (("token", "bob"), b"digest"),
            (("jwt", "ann"), b"digest"),
            (("token", "ann"), b"other"),
        ):
            with pytest.raises(InvalidArguments):
                parking.resume(state, owner, digest)
    assert trio.current_time() == pytest.approx(60)
    assert running.cancelled
    with pytest.raises(InvalidArguments):
        parking.resume(state, ("token", "ann"), b"digest")
    assert len(parking) == 0


async def test_a_call_that_is_resumed_in_time_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    parking = Parking(most=1, seconds=60)
    running = Running(backlog=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, work)
        state = parking.park(running, ("token", "ann"), b"digest")
        await trio.sleep(59)
        assert parking.resume(state, ("token", "ann"), b"digest") is running
        assert running.scope.deadline == math.inf
        await trio.sleep(100)
        assert not running.ended
        nursery.cancel_scope.cancel()


def test_a_retry_is_recognised_however_its_client_writes_it() -> None:
    one = {"name": Raw(b'"a"'), "arguments": Raw(b'{"x": 1, "y": [1.0]}')}
    two = {"arguments": Raw(b'{"y":[1.0],"x":1}'), "name": Raw(b'"a"'), "requestState": Raw(b'"s"')}
    assert digest_of("m", one) == digest_of("m", two)
    assert digest_of("m", one) != digest_of("n", one)
    assert digest_of("m", one) != digest_of("m", {**one, "arguments": Raw(b"{}")})


async def test_who_parks_many_calls_makes_room_for_who_has_few() -> None:
    parking = Parking(most=4, seconds=60)
    ann, bob = ("token", "ann"), ("token", "bob")
    many = [Running(backlog=2) for _ in range(4)]
    for running in many:
        parking.park(running, bob, b"digest")
    few = [Running(backlog=2) for _ in range(2)]
    states = [parking.park(running, ann, b"digest") for running in few]
    assert [one.scope.cancel_called for one in many] == [True, True, False, False]
    for owner in (ann, bob):
        with pytest.raises(Overloaded):
            parking.park(Running(backlog=2), owner, b"digest")
    assert [parking.resume(state, ann, b"digest") for state in states] == few
