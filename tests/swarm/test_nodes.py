"""Whole nodes that are a swarm: real sockets, certificates, gossip; everything but the processes."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.agents import State
from flowcore.errors import AgentUnavailable, AssemblyError
from flowcore.swarm import MemberState
from support.flows import config, lists, nodes

TOPOLOGIES = ("mesh", "star", "ring", "hierarchical")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_every_node_serves_the_agents_of_all(tmp_path: pathlib.Path, topology: str) -> None:
    async with nodes(tmp_path, "alpha", "beta", "gamma", topology=topology) as flows:
        listings = {name: flow.directory.listing("tools") for name, flow in flows.items()}
        first = listings["alpha"]
        for listing in listings.values():
            assert [one.name for one in listing.entries] == [one.name for one in first.entries]
            assert listing.nodes == first.nodes
        assert dict(first.nodes)["shared"] == ("alpha", "beta", "gamma")
        for flow in flows.values():
            for name in flows:
                result = await flow.call(f"of-{name}.echo", {"text": "x"})
                assert result.text == "x"


async def test_a_node_that_leaves_is_known_to_have_left(tmp_path: pathlib.Path) -> None:
    async with nodes(tmp_path, "alpha", "beta") as flows:
        alpha = flows["alpha"]
        async with open_flow(config("gamma", tmp_path, [alpha.swarm.address])) as gamma:
            await gamma.wait_settled()
            await lists(alpha, "of-gamma.echo")
        with trio.fail_after(120):
            while alpha.swarm.members()["gamma"].state.present:
                await alpha.directory.wait_changed(alpha.directory.revision)
        assert alpha.swarm.members()["gamma"].state is MemberState.LEFT
        with pytest.raises(AgentUnavailable, match="has left"):
            await alpha.call("of-gamma.echo", {"text": "x"})
        assert (await alpha.call("shared.echo", {"text": "x"})).text == "x"


async def test_the_name_must_be_that_of_the_certificate(tmp_path: pathlib.Path) -> None:
    wrong = config("alpha", tmp_path, [])
    wrong["node"]["name"] = "omega"
    with pytest.raises(AssemblyError, match="certificate of node 'alpha', and this is 'omega'"):
        async with open_flow(wrong):
            raise AssertionError


async def test_status_tells_of_the_swarm(tmp_path: pathlib.Path) -> None:
    async with nodes(tmp_path, "alpha", "beta") as flows:
        alpha = flows["alpha"]
        with trio.fail_after(120):  # a slow machine may suspect one for a moment
            while {one.state.value for one in alpha.swarm.members().values()} != {"alive"}:  # noqa: ASYNC110
                await trio.sleep(0.01)
        status = alpha.status()
        members = {one["name"]: one for one in status["swarm"]["members"]}
        assert {one["state"] for one in members.values()} == {"alive"}
        assert members["beta"]["hops"] == 1
        assert members["alpha"]["hops"] == 0
        assert [one["name"] for one in status["elsewhere"]] == ["of-beta", "shared"]
        assert status["federation"]["nodes"][0]["current"]


async def test_status_counts_a_node_of_another_swarm_that_was_refused(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(config("alpha", tmp_path, [])) as alpha:
        seeds = [alpha.swarm.address]
        async with open_flow(config("beta", tmp_path, seeds, cluster="another")) as beta:
            with trio.fail_after(120):
                while not alpha.status()["swarm"]["refused"].get("cluster"):
                    await trio.lowlevel.checkpoint()
            assert list(beta.swarm.members()) == ["beta"]


async def test_no_request_is_lost_while_the_topology_changes(tmp_path: pathlib.Path) -> None:
    names = ("alpha", "beta", "gamma", "delta")
    async with nodes(tmp_path, *names) as flows:
        done = 0

        async def keep_calling(flow: Flow, other: str, stop: trio.Event) -> None:
            nonlocal done
            while not stop.is_set():
                assert (await flow.call(f"of-{other}.echo", {"text": "x"})).text == "x"
                done += 1

        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            for one in names:
                for other in names:
                    if one != other:
                        nursery.start_soon(keep_calling, flows[one], other, stop)
            for topology in ("star", "ring", "hierarchical", "mesh"):
                for name, flow in flows.items():
                    seeds = [] if name == "alpha" else [flows["alpha"].swarm.address]
                    reloaded = await flow.reload(config(name, tmp_path, seeds, topology=topology))
                    assert reloaded.applied
                    assert not reloaded.restart
                before = done
                with trio.fail_after(120):
                    while done < before + 50:
                        await flows["alpha"].call("of-beta.echo", {"text": "x"})
            stop.set()
        assert flows["alpha"].swarm.status()["topology"] == "mesh"


def _chaotic(name: str, folder: pathlib.Path, seeds: list[str]) -> dict[str, Any]:
    made = config(name, folder, seeds)
    made["guard"] = {"chaos": {"type": "faults"}}
    made["requests"] = {"guards": ["chaos"]}
    return made


async def test_a_cut_is_noticed_and_healed_and_nothing_hangs(tmp_path: pathlib.Path) -> None:
    async with AsyncExitStack() as stack:
        alpha = await stack.enter_async_context(open_flow(_chaotic("alpha", tmp_path, [])))
        seeds = [alpha.swarm.address]
        beta = await stack.enter_async_context(open_flow(_chaotic("beta", tmp_path, seeds)))
        await lists(alpha, "of-beta.echo")
        chaos = alpha.guard("chaos")
        chaos.act("start", {"name": "cut", "fault": "partition", "duration": "1h"})
        with trio.fail_after(30):
            while alpha.swarm.members()["beta"].state.present:
                await alpha.directory.wait_changed(alpha.directory.revision)
        with pytest.raises(AgentUnavailable):
            await alpha.call("of-beta.echo", {"text": "x"})
        assert (await alpha.call("shared.echo", {"text": "x"})).text == "x"
        assert (await beta.call("shared.echo", {"text": "x"})).text == "x"
        chaos.act("stop", {})
        await lists(alpha, "of-beta.echo")
        await lists(beta, "of-alpha.echo")
        assert (await alpha.call("of-beta.echo", {"text": "x"})).text == "x"


async def test_links_that_lose_and_delay_still_carry_everything(tmp_path: pathlib.Path) -> None:
    async with AsyncExitStack() as stack:
        alpha = await stack.enter_async_context(open_flow(_chaotic("alpha", tmp_path, [])))
        seeds = [alpha.swarm.address]
        await stack.enter_async_context(open_flow(_chaotic("beta", tmp_path, seeds)))
        await lists(alpha, "of-beta.echo")
        chaos = alpha.guard("chaos")
        slow = {"fault": "link_latency", "delay": "20ms", "jitter": "10ms", "duration": "1h"}
        chaos.act("start", {"name": "slow", **slow})
        chaos.act("start", {"name": "lossy", "fault": "link_loss", "rate": 0.05, "duration": "1h"})
        for number in range(20):
            result = await alpha.call("of-beta.echo", {"text": str(number)})
            assert result.text == str(number)
        assert alpha.weather.delayed > 20


async def test_a_caller_that_goes_away_cancels_the_work_at_the_other_node(
    tmp_path: pathlib.Path,
) -> None:
    async with nodes(tmp_path, "alpha", "beta") as flows:
        alpha, beta = flows["alpha"], flows["beta"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alpha.call, "of-beta.wait", {"seconds": 3600})
            await beta.agents["of-beta"].wait_until(State.BUSY)
            nursery.cancel_scope.cancel()
        with trio.fail_after(120):
            await beta.agents["of-beta"].wait_until(State.IDLE)
        assert beta.requests.statistics().cancelled == 1
