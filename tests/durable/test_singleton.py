"""Agents that run at one node at a time: held by a lease, with a number that grows, moved with it."""

from __future__ import annotations

import pathlib
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from msgspec import Raw

import flowcore
from flowcore.agents import State as AgentState
from flowcore.config import ConfigError
from flowcore.durable import open_single
from flowcore.errors import AgentUnavailable, StateUnavailable
from flowcore.native import CallContext, tool
from flowcore.state import DeclareLost, State
from support.keeping import keeping

SECONDS = 2.0
"""Of a lease: enough that a busy machine renews it."""


@attrs.define(eq=False)
class Place:
    """An agent at a node: whether it runs there, and under which numbers it ran."""

    name: str
    node: str
    log: list[tuple[str, str, int]]
    state: AgentState = AgentState.STOPPED
    reason: str = ""
    moved: trio.Event = attrs.field(factory=trio.Event)

    def take_over(self, fence: int) -> None:
        self.log.append((self.node, "runs", fence))
        self._become(AgentState.IDLE)

    async def stand_by(self, reason: str, seconds: float = 0.0) -> None:
        await trio.lowlevel.checkpoint()
        self.reason = reason
        if self.state is not AgentState.STOPPED:
            self.log.append((self.node, "stops", 0))
            self._become(AgentState.STOPPED)

    async def wait_until(self, *states: AgentState) -> AgentState:
        while self.state not in states:
            await self.moved.wait()
        return self.state

    def fail(self) -> None:
        self._become(AgentState.FAILED)

    def _become(self, state: AgentState) -> None:
        self.state = state
        self.moved.set()
        self.moved = trio.Event()


@asynccontextmanager
async def places(
    state: Any, *nodes: str, log: list[tuple[str, str, int]] | None = None
) -> AsyncGenerator[tuple[list[Place], dict[str, Any]]]:
    """One agent at these nodes, each with a scope that ends it; `log` is of all that happens to it."""
    log = [] if log is None else log
    made = [Place("cron", node, log) for node in nodes]
    scopes: dict[str, trio.CancelScope] = {}

    async def live(place: Place, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as scope:
            scopes[place.node] = scope
            async with open_single(
                place,
                state,
                f"{place.node}/1",
                seconds=SECONDS,
                shutdown=0.0,
                chance=random.Random(7),
            ):
                task_status.started()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for place in made:
            await nursery.start(live, place)
        yield made, scopes
        nursery.cancel_scope.cancel()


async def running(places: list[Place]) -> Place:
    """The one that runs, once there is one."""
    with trio.fail_after(20):
        while True:
            there = [one for one in places if one.state is AgentState.IDLE]
            assert len(there) <= 1, "two at once"
            if there:
                return there[0]
            await trio.sleep(0.005)


def never_two(log: list[tuple[str, str, int]]) -> None:
    """Each stops before the next one runs, and the numbers grow."""
    there = ""
    fences = []
    for node, what, fence in log:
        if what == "runs":
            assert not there, log
            there = node
            fences.append(fence)
        else:
            assert there == node
            there = ""
    assert fences == sorted(set(fences))
    assert fences


async def test_it_runs_at_one_node_and_moves_when_that_is_stopped(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path) as kept, places(kept.state, "a", "b", "c") as (made, scopes):
        first = await running(made)
        with trio.fail_after(20):
            reason = f"it runs at node {first.node}"
            while {one.reason for one in made if one is not first} != {reason}:  # noqa: ASYNC110
                await trio.sleep(0.005)
        scopes[first.node].cancel()
        await first.wait_until(AgentState.STOPPED)
        second = await running(made)
        assert second is not first
        never_two(first.log)


async def test_it_moves_when_its_lease_is_not_renewed_and_not_sooner(
    tmp_path: pathlib.Path,
) -> None:
    """A node that does not reach the others stops by its own clock; only then another one has it."""

    class Cut:
        """The state as a node sees it that reaches nobody any more."""

        def __init__(self, state: State) -> None:
            self.state = state
            self.cut = False

        def watch_work(self, told: Any) -> Any:
            return self.state.watch_work(told)

        async def do(self, command: Any) -> Any:
            if self.cut:
                await trio.lowlevel.checkpoint()
                raise StateUnavailable("there is no majority")
            return await self.state.do(command)

    async with keeping(tmp_path) as kept:
        cut = Cut(kept.state)
        async with places(cut, "a") as (first, _):
            await running(first)
            async with places(kept.state, "b", log=first[0].log) as (second, _):
                cut.cut = True
                # the swarm takes it for dead: its lease holds all the same
                await kept.state.do(DeclareLost("a/1", leases=False))
                await running(second)
                never_two(first[0].log)
                cut.cut = False
                with trio.fail_after(20):
                    while first[0].reason != "it runs at node b":  # noqa: ASYNC110
                        await trio.sleep(0.005)


async def test_one_that_fails_where_it_runs_is_tried_elsewhere(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path) as kept, places(kept.state, "a", "b") as (made, _):
        first = await running(made)
        first.fail()
        second = await running([one for one in made if one is not first])
        assert second is not first
        never_two(first.log)


class Cron:
    """An agent that tells under which number it runs."""

    @tool()
    async def fence(self, context: CallContext) -> int:
        """The number."""
        return context.fence


def config(folder: pathlib.Path, **more: Any) -> dict[str, Any]:
    return {
        "node": {"data_dir": str(folder)},
        "agent": {
            "cron": {
                "type": "python",
                "target": "tests.durable.test_singleton:Cron",
                "singleton": True,
                "lease": "30s",
            }
        },
        **more,
    }


async def test_the_number_is_given_to_the_agent_with_each_call_and_grows(
    tmp_path: pathlib.Path,
) -> None:
    fences = []
    for _ in range(2):
        async with flowcore.open_flow(config(tmp_path)) as flow:
            with trio.fail_after(20):
                await flow.agents["cron"].wait_until(AgentState.IDLE)
            told = await flow.call("cron.fence")
            fences.append(int(told.text))
            assert flow.agents["cron"].status()["fence"] == fences[-1]
            assert flow.status()["singletons"]["cron"] == {
                "lease": "agent/cron",
                "node": "flow",
                "fence": fences[-1],
            }
    assert 0 < fences[0] < fences[1]


async def test_one_that_stands_by_takes_no_calls_and_cannot_be_started_by_hand(
    tmp_path: pathlib.Path,
) -> None:
    async with flowcore.open_flow(config(tmp_path)) as flow:
        cron = flow.agents["cron"]
        with trio.fail_after(20):
            await cron.wait_until(AgentState.IDLE)
        await cron.stand_by("it runs at node beta")
        assert (cron.state, cron.reason) == (AgentState.STOPPED, "it runs at node beta")
        assert flow.ready
        with pytest.raises(AgentUnavailable, match="is a singleton: it runs at node beta"):
            cron.restart()
        with pytest.raises(AgentUnavailable):
            await flow.call("cron.fence")
        cron.take_over(99)
        with trio.fail_after(20):
            await cron.wait_until(AgentState.IDLE)
        assert (await flow.call("cron.fence")).text == "99"


async def test_a_caller_cannot_say_the_number_itself() -> None:
    from flowcore.agents import FENCE
    from flowcore.envelope import Envelope, tool_params

    agent = {"type": "python", "target": "tests.durable.test_singleton:Cron"}
    async with flowcore.open_flow({"agent": {"plain": agent}}) as flow:
        await flow.wait_settled()
        envelope = Envelope(
            agent="plain",
            name="fence",
            params=tool_params("fence", {}),
            meta={FENCE: Raw(b"9"), "other": Raw(b"1")},
            deadline=trio.current_time() + 30,
        )
        reply = await flow.submit(envelope)
        assert b'"text":"0"' in bytes(reply.result).replace(b" ", b"")
        assert list(envelope.meta) == ["other"]


async def test_a_singleton_comes_changes_and_goes_with_a_restart(
    tmp_path: pathlib.Path,
) -> None:
    before = config(tmp_path)
    async with flowcore.open_flow(before) as flow:
        with trio.fail_after(20):
            await flow.agents["cron"].wait_until(AgentState.IDLE)
        changed = config(tmp_path)
        changed["agent"]["cron"]["lease"] = "3s"
        done = await flow.reload(changed)
        assert [one.partition(" ")[0] for one in done.restart] == ["agent.cron.lease"]
        assert flow.agents["cron"].state.available
        changed = config(tmp_path)
        changed["agent"]["cron"]["description"] = "what is done at one place"
        done = await flow.reload(changed)
        assert done.applied == ("agent.cron.description",)
        done = await flow.reload({"node": {"data_dir": str(tmp_path)}})
        assert [one.partition(" ")[0] for one in done.restart] == ["agent.cron"]
        assert (await flow.call("cron.fence")).text == str(flow.singletons["cron"].fence)
    async with flowcore.open_flow({"node": {"data_dir": str(tmp_path)}, "state": {}}) as flow:
        assert await flow.state.leases() == []


async def test_nodes_that_share_no_state_have_no_singletons(tmp_path: pathlib.Path) -> None:
    swarm = {"bind": "127.0.0.1:0", "tls": {"cert": "a", "key": "b", "ca": "c"}}
    with pytest.raises(ConfigError, match=r"agent\.cron: a singleton of a swarm needs a state"):
        async with flowcore.open_flow(config(tmp_path, swarm=swarm)):
            raise AssertionError
