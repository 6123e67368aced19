"""Elections, suspicions, links and lanes: what nodes tell of each other are the events that a test caused."""

from __future__ import annotations

import logging
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.swarm import Lane, Member, Rule
from flowcore.telemetry import Distribution, Snapshot
from support.flows import config, nodes
from support.ports import free_port

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def until(done: Callable[[], Any], seconds: float = 60) -> None:
    with trio.fail_after(seconds):
        while not done():  # noqa: ASYNC110 - whatever it is, nobody tells when
            await trio.sleep(0.01)


def number(snapshot: Snapshot, name: str, *labels: str) -> int:
    found = snapshot.value(name, *labels)
    assert isinstance(found, int), (name, labels, found)
    return found


def engine(flow: Flow) -> dict[str, Any]:
    status: dict[str, Any] = flow.state.status()["consensus"]
    return status


def steps(flow: Flow) -> tuple[Any, ...]:
    """How far a node's state is, and by whom."""
    told = engine(flow)
    return told["leader"], told["term"], told["commit"], flow.state.status()["position"]


async def still(flows: dict[str, Flow]) -> dict[str, Snapshot]:
    """What these nodes tell while all are equally far, and none takes a step."""
    names = flows.keys()
    with trio.fail_after(120):
        while True:
            await until(lambda: len({steps(one) for one in flows.values()}) == 1)
            before = [steps(one) for one in flows.values()]
            found = {name: await one.metrics.snapshot() for name, one in flows.items()}
            if [steps(one) for one in flows.values()] == before and before[0][0] in names:
                return found


async def test_commands_elections_and_terms_are_counted(tmp_path: pathlib.Path) -> None:
    flows: dict[str, Flow] = {}
    scopes: dict[str, trio.CancelScope] = {}
    ports = {name: f"127.0.0.1:{free_port()}" for name in NAMES}

    async def live(name: str, *, task_status: trio.TaskStatus[None]) -> None:
        made = config(name, tmp_path, list(ports.values()), bind=ports[name])
        made["consensus"] = {"type": "raft", "voters": list(NAMES), "patience": "60s"}
        made["state"] = {}
        with trio.CancelScope() as scopes[name]:
            async with open_flow(made) as flow:
                flows[name] = flow
                task_status.started()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for name in NAMES:  # together: none has a state before a majority is there
                starting.start_soon(nursery.start, live, name)
        await until(lambda: all(engine(one)["leader"] for one in flows.values()))
        before = {name: await flow.metrics.snapshot() for name, flow in flows.items()}
        for count in range(5):
            await flows["alpha"].revoke([f"jti:{count}"], 60.0)
        last = engine(flows["alpha"])["commit"]
        await until(lambda: all(engine(one)["commit"] >= last for one in flows.values()))
        await until(lambda: all(one.state.status()["position"] >= last for one in flows.values()))

        after = await still(flows)
        leader = engine(flows["alpha"])["leader"]
        for name in NAMES:
            grown = number(after[name], "flowcore.state.commands") - number(
                before[name], "flowcore.state.commands"
            )
            assert grown >= 5  # the five, and what nodes themselves put there
            assert number(after[name], "flowcore.consensus.commit") >= last
            assert number(after[name], "flowcore.raft.term") == engine(flows[name])["term"]
            assert number(after[name], "flowcore.raft.leader_known") == 1
            roles = {one: number(after[name], "flowcore.raft.role", one) for one in ("leader",)}
            assert roles == {"leader": int(name == leader)}
            fsyncs = after[name].value("flowcore.storage.fsync.duration")
            assert isinstance(fsyncs, Distribution)
            assert fsyncs.count == number(after[name], "flowcore.storage.commits") > 0
        assert len({number(one, "flowcore.state.commands") for one in after.values()}) == 1
        proposed = {
            name: number(after[name], "flowcore.consensus.proposals")
            - number(before[name], "flowcore.consensus.proposals")
            for name in NAMES
        }
        assert proposed["alpha"] >= 5

        # an election, since the leader is gone
        term = number(after["alpha"], "flowcore.raft.term")
        begun = sum(number(one, "flowcore.raft.elections") for one in after.values())
        assert begun >= term  # each term was begun by somebody
        scopes[leader].cancel()
        left = [name for name in NAMES if name != leader]
        last_of = await still({name: flows[name] for name in left})
        terms = {number(one, "flowcore.raft.term") for one in last_of.values()}
        grown = sum(
            number(last_of[name], "flowcore.raft.elections")
            - number(after[name], "flowcore.raft.elections")
            for name in left
        )
        assert max(terms) > term
        assert grown >= max(terms) - term >= 1
        for name in left:
            changes = "flowcore.raft.leader_changes"
            assert number(last_of[name], changes) > number(after[name], changes)
        assert sum(number(one, "flowcore.raft.role", "leader") for one in last_of.values()) == 1
        one = flows[left[0]]
        with trio.fail_after(60):
            while alive(one) != set(left) or await living(one) != 2:  # noqa: ASYNC110 - nobody tells when
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


def alive(flow: Flow) -> set[str]:
    return {one.name for one in flow.swarm.members().values() if one.state.value == "alive"}


async def living(flow: Flow) -> int:
    """How many members it counts as alive."""
    return number(await flow.metrics.snapshot(), "flowcore.swarm.members", "alive")


async def test_a_suspicion_that_was_wrong_is_counted_as_such(tmp_path: pathlib.Path) -> None:
    async with nodes(tmp_path, "alpha", "beta") as flows:
        alpha, beta = flows["alpha"], flows["beta"]
        moves: Counter[tuple[str, str]] = Counter()
        state = {"beta": "alive"}

        def told(member: Member) -> None:
            was, now = state.get(member.name), member.state.value
            if was is not None and was != now:
                moves[was, now] += 1
                state[member.name] = now
                if now == "suspect":
                    beta.weather.lift("cut")

        def withdrawn() -> int:
            """Suspicions that alpha took back, since it had heard nobody at all."""
            told: dict[str, int] = alpha.status()["swarm"]["membership"]["suspicions"]
            return told["withdrawn"]

        async def told_while_it_lives() -> tuple[Snapshot, Counter[tuple[str, str]]]:
            """What alpha tells while beta is alive and nothing moves, and all that has moved until then."""
            with trio.fail_after(60):
                while True:
                    seen = moves.copy()
                    snapshot = await alpha.metrics.snapshot()
                    if seen == moves and state["beta"] == "alive":
                        return snapshot, seen
                    await trio.sleep(0.01)

        stop = alpha.swarm.watch(told)
        before, had = await told_while_it_lives()  # a slow machine may have suspected it already
        were_withdrawn = withdrawn()
        refuted = number(before, "flowcore.membership.false_suspicions")
        after = before
        # a slow node may have been dead before it is heard; a slow machine takes back what was its own fault
        while number(after, "flowcore.membership.false_suspicions") == refuted:
            seen = moves.total()
            beta.weather.set("cut", Rule(cut=True))
            await until(lambda seen=seen: moves.total() > seen and state["beta"] == "alive")  # type: ignore[misc]
            after, have = await told_while_it_lives()
        stop()
        moved = have - had

        def grown(name: str) -> int:
            counted = f"flowcore.membership.{name}"
            return number(after, counted) - number(before, counted)

        assert grown("suspicions") == sum(
            count for (_, now), count in moved.items() if now == "suspect"
        )
        assert grown("deaths") == moved["suspect", "dead"]
        wrong = grown("false_suspicions")
        assert 0 < wrong <= moved["suspect", "alive"]
        assert wrong + grown("false_deaths") + withdrawn() - were_withdrawn == sum(
            count for (_, now), count in moved.items() if now == "alive"
        )
        there = await beta.metrics.snapshot()
        assert number(there, "flowcore.membership.refutations") >= wrong
        assert number(after, "flowcore.swarm.members", "alive") == 2


async def test_bytes_and_lanes_of_a_link_are_those_that_were_sent(tmp_path: pathlib.Path) -> None:
    async with nodes(tmp_path, "alpha", "beta") as flows:
        alpha, beta = flows["alpha"], flows["beta"]

        async def seen() -> tuple[int, int]:
            here, there = await alpha.metrics.snapshot(), await beta.metrics.snapshot()
            return (
                number(here, "flowcore.link.io", "beta", "out"),
                number(there, "flowcore.link.io", "alpha", "in"),
            )

        out, into = await seen()
        size = 2_000_000
        assert (await alpha.call("of-beta.echo", {"text": "x" * size})).text == "x" * size
        more = await seen()
        for grown in (more[0] - out, more[1] - into):
            assert size <= grown <= 1.05 * size
        rtt = None
        with trio.fail_after(60):  # it is measured now and then, and may not have been yet
            while rtt is None:
                rtt = (await alpha.metrics.snapshot()).value("flowcore.link.rtt", "beta")
        assert isinstance(rtt, float)
        (member,) = [one for one in alpha.status()["swarm"]["members"] if one["name"] == "beta"]
        assert 0 < rtt < 10
        assert member["rtt"] is not None

        # a lane that is full: what it does not take is counted, and the others have room
        lane = Lane.BULK.name.lower()  # the nodes themselves put nothing there
        refused = posted = 0
        while not refused:
            refused += not alpha.swarm.overlay.post("beta", "nobody", b"x" * 60_000, Lane.BULK)
            posted += 1
            assert posted < 100_000
        full = await alpha.metrics.snapshot()
        assert number(full, "flowcore.link.lane.dropped", "beta", lane) == refused
        assert number(full, "flowcore.link.lane.dropped", "beta", "requests") == 0
        assert (await alpha.call("of-beta.echo", {"text": "y"})).text == "y"
