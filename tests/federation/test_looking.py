"""What the agents of other nodes are at is what these nodes say, while they answer, and no longer."""

from __future__ import annotations

import pathlib
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from flowcore import Flow
from flowcore.errors import CallError
from flowcore.federation import looking
from flowcore.federation.looking import AgentTold, Asking, Looking, Showing, Told
from flowcore.federation.wire import pack, unpack
from flowcore.swarm import Stream, receive_whole, send_whole
from support.flows import nodes
from support.short_ways import Net

SAME = (
    *("calls", "succeeded", "failed", "faulty", "expired", "cancelled", "lost", "refused"),
    *("lives", "crashes", "trouble", "breaker", "state", "durations"),
)
POOL = ("workers", "starting", "active", "waiting", "waits", "refused", "most", "queue")


def own(flow: Flow, name: str) -> dict[str, Any]:
    """What a node says of an agent of its own."""
    (found,) = [one for one in flow.each_agent() if one["name"] == name]
    told = {key: found[key] for key in SAME}
    return {**told, "pool": {key: found["pool"][key] for key in POOL}}


def of(places: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The same, as another node says it."""
    (found,) = [one for one in places if one["name"] == name]
    return {**{key: found[key] for key in SAME}, "pool": found["pool"]}


async def agreed(alpha: Flow, beta: Flow, name: str) -> dict[str, Any]:
    """Wait until alpha says of beta's agent what beta says."""
    with trio.fail_after(20):
        while True:
            said = of(await alpha.ask_agents(), name)
            if said == own(beta, name):
                return said
            await trio.sleep(0.02)


async def test_it_is_what_their_node_says(tmp_path: pathlib.Path) -> None:
    async with nodes(tmp_path, "alpha", "beta") as flows:
        alpha, beta = flows["alpha"], flows["beta"]
        assert "pool" not in alpha.elsewhere()[0]  # nobody has looked
        await agreed(alpha, beta, "of-beta")
        for _ in range(3):
            await alpha.call("of-beta.echo", {"text": "x"})
        with pytest.raises(CallError):
            await alpha.call("of-beta.echo", {"text": 1})
        await beta.call("of-beta.fail", {"how": "tool"})
        async with trio.open_nursery() as nursery:
            waiting = partial(beta.call, "of-beta.wait", {"seconds": 3600}, deadline=3600)
            for _ in range(7):
                nursery.start_soon(waiting)
            said = await agreed(alpha, beta, "of-beta")
            while said["pool"]["active"] + said["pool"]["waiting"] < 7:
                said = await agreed(alpha, beta, "of-beta")
            assert said["state"] == "busy"
            nursery.cancel_scope.cancel()
        said = await agreed(alpha, beta, "of-beta")
        while said["cancelled"] < 7:
            said = await agreed(alpha, beta, "of-beta")
        assert (said["calls"], said["succeeded"], said["cancelled"]) == (11, 4, 7)
        assert said["durations"]["count"] == 4


def row(name: str, **more: Any) -> dict[str, Any]:
    counts = ("calls", "succeeded", "failed", "faulty", "expired", "cancelled", "lost", "refused")
    durations = dict.fromkeys(("mean", "p50", "p99", "longest"))
    return {
        **dict.fromkeys(counts, 0),
        "name": name,
        "state": "idle",
        "since": 1.0,
        "lives": 1,
        "crashes": 0,
        "durations": {"count": 0, **durations},
        "pool": None,
        "trouble": None,
        **more,
    }


async def answers(net: Net, asking: Asking) -> Told:
    """What node b answers a."""
    stream = await net.nodes["a"].open("b", looking.SERVICE, pack(asking))
    async with stream:
        return unpack(await receive_whole(stream, 1 << 20), Told)


async def test_only_what_has_changed_is_told_again(autojump_clock: MockClock) -> None:
    del autojump_clock
    rows = {name: row(name) for name in ("one", "two", "flow")}
    showing = Showing(7, lambda: iter(rows.values()), frozenset({"flow"}))
    async with trio.open_nursery() as nursery:
        net = Net(nursery)
        net.add("a")
        async with net.add("b").serve(looking.SERVICE, showing.serve):
            told = await answers(net, Asking())
            assert {one.name for one in told.agents} == {"one", "two"}
            rows["two"] = row("two", calls=5)
            rows["one"]["since"] = 9.0  # which is no news
            await trio.sleep(1)
            again = await answers(net, Asking(told.boot, told.number))
            assert [(one.name, one.calls) for one in again.agents] == [("two", 5)]
            assert len((await answers(net, Asking(8, told.number))).agents) == 2
            del rows["one"]
            await trio.sleep(1)
            last = await answers(net, Asking(again.boot, again.number))
            assert (last.count, last.agents) == (1, ())
        nursery.cancel_scope.cancel()


async def test_what_is_known_ends_with_whoever_told_it(autojump_clock: MockClock) -> None:
    del autojump_clock
    place = {"name": "one", "node": "b", "state": "idle", "reason": ""}
    silent = False

    async def serve(node: str, head: bytes, stream: Stream) -> None:
        del node, head
        async with stream:
            if silent:
                await trio.sleep_forever()
            told = (msgspec.convert(row("one", calls=3, trouble="it fell"), AgentTold),)
            await send_whole(stream, pack(Told(7, 1, 1, told)))

    async with trio.open_nursery() as nursery:
        net = Net(nursery)
        there = net.add("b").serve(looking.SERVICE, serve)
        seen = Looking(net.add("a"), lambda: 1 << 20)
        nursery.start_soon(seen.run)
        async with there:
            await trio.testing.wait_all_tasks_blocked()
            assert seen.joined(place) == place
            await seen.look()
            assert seen.joined(place)["calls"] == 3
            assert seen.joined(place)["trouble"] == "it fell"
            paused = {**place, "state": "paused"}  # announced since
            assert seen.joined(paused)["state"] == "paused"
            lost = {**place, "state": "stopped"}
            assert seen.joined(lost) == lost
            silent = True
            await trio.sleep(1)
            began = trio.current_time()
            await seen.look()
            assert round(trio.current_time() - began, 6) <= looking.PATIENCE
            await seen.look()  # it is asked already, and not waited for again
            assert round(trio.current_time() - began, 6) <= looking.PATIENCE
            assert seen.joined(place)["ago"] >= 1
            await trio.sleep(looking.STALE)
            assert seen.joined(place) == place
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff garbage",
        pack((7, 1, 1, [{"name": "one"}])),
        pack((7, -1, 1, [])),
        pack((7, 1, 1, [{**row("one"), "state": "very well"}])),
        pack((7, 1, 1, [{**row("one"), "calls": -3}])),
        pack((7, 1, 1, [{**row("one"), "breaker": "x" * 41}])),
        b"x" * 2000,
    ],
)
async def test_who_tells_nonsense_has_told_nothing(answer: bytes) -> None:
    async def serve(node: str, head: bytes, stream: Stream) -> None:
        del node, head
        async with stream:
            await send_whole(stream, answer)

    async with trio.open_nursery() as nursery:
        net = Net(nursery)
        there = net.add("b").serve(looking.SERVICE, serve)
        seen = Looking(net.add("a"), lambda: 1000)
        nursery.start_soon(seen.run)
        async with there:
            await trio.testing.wait_all_tasks_blocked()
            await seen.look()
            place = {"name": "one", "node": "b", "state": "idle", "reason": ""}
            assert seen.joined(place) == place
        nursery.cancel_scope.cancel()


async def test_agents_that_are_no_more_are_forgotten(autojump_clock: MockClock) -> None:
    del autojump_clock
    rows = {f"a{number}": row(f"a{number}") for number in range(30)}
    showing = Showing(7, lambda: iter(rows.values()), frozenset())
    async with trio.open_nursery() as nursery:
        net = Net(nursery)
        there = net.add("b").serve(looking.SERVICE, showing.serve)
        seen = Looking(net.add("a"), lambda: 1 << 20)
        nursery.start_soon(seen.run)
        async with there:
            await trio.testing.wait_all_tasks_blocked()
            await seen.look()
            kept = {"name": "a29", "node": "b", "state": "idle"}
            lost = {"name": "a0", "node": "b", "state": "idle"}
            assert "calls" in seen.joined(kept)
            del rows["a0"]
            for _ in range(2):
                await trio.sleep(1)
                await seen.look()
            assert "calls" in seen.joined(kept)
            assert seen.joined(lost) == lost
        nursery.cancel_scope.cancel()
