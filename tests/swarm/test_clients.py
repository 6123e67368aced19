"""Clients of one node, of agents that are at another: the official client, and the official suite."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import pytest
import trio

import mcp
from flowcore import Flow, open_flow
from flowcore.agents import State
from mcp import types
from support.conformance import EVERYTHING, Version, run_suite
from support.flows import TALK, available, config, gone, two
from support.official import answer_name, answer_sample, text_of, use

pytestmark = [
    # the client's own HTTP library leaves async generators to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_can_do_all_of_it_at_another_node(
    mode: Literal["auto", "legacy"], tmp_path: pathlib.Path
) -> None:
    with trio.fail_after(180):
        async with (
            two(tmp_path, TALK) as (alpha, beta),
            mcp.Client(
                alpha.endpoints["mcp"][0],
                mode=mode,
                elicitation_callback=answer_name,
                sampling_callback=answer_sample,
            ) as client,
        ):
            await use(client)
            assert beta.status()["federation"]["served"] > 10


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_is_given_up_is_cancelled_at_the_other_node(
    mode: Literal["auto", "legacy"], tmp_path: pathlib.Path
) -> None:
    with trio.fail_after(180):
        async with two(tmp_path, TALK) as (alpha, beta):
            async with mcp.Client(alpha.endpoints["mcp"][0], mode=mode) as client:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.call_tool, "hang", {})
                    await beta.agents["talk"].wait_until(State.BUSY)
                    nursery.cancel_scope.cancel()
                while (await text_of(client, "cancellations")) != '{"cancelled":1}':
                    await trio.lowlevel.checkpoint()
            assert not beta.requests.tracker.running


@pytest.mark.parametrize(
    "version", ["2025-11-25", pytest.param("2026-07-28", marks=pytest.mark.long)]
)
async def test_the_official_suite_passes_at_another_node(
    version: Version, tmp_path: pathlib.Path
) -> None:
    async with two(tmp_path / "nodes", EVERYTHING) as (alpha, _):
        score = await run_suite(alpha.endpoints["mcp"][0], version, tmp_path)
    assert score.whole, "\n".join([str(score), *score.problems])


@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
async def test_what_a_client_hears_of_a_resource_outlives_the_node_that_has_it(
    tmp_path: pathlib.Path,
) -> None:
    heard, hear = trio.open_memory_channel[object](100)

    async def take(message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            await heard.send(message)

    near, far = config("alpha", tmp_path, []), config("beta", tmp_path, [])
    near["agent"], far["agent"] = {}, {"talk": TALK}
    near["edge"] = {"mcp": {"type": "mcp", "bind": "127.0.0.1:0"}}

    async def live(*, task_status: trio.TaskStatus[tuple[Flow, trio.CancelScope]]) -> None:
        with trio.CancelScope() as scope:
            async with open_flow(far) as beta:
                await beta.wait_settled()
                task_status.started((beta, scope))
                await trio.sleep_forever()

    async def told(client: mcp.Client) -> None:
        with suppress(trio.WouldBlock):
            while True:
                hear.receive_nowait()
        while True:  # until it is subscribed to at the other node
            await text_of(client, "change", uri="test://static")
            with trio.move_on_after(1):
                await hear.receive()
                return

    with trio.fail_after(180):
        async with open_flow(near) as alpha, trio.open_nursery() as nursery:
            far["swarm"]["seeds"] = [alpha.swarm.address]
            _, first = await nursery.start(live)
            await available(alpha, "talk")
            async with mcp.Client(
                alpha.endpoints["mcp"][0], mode="legacy", message_handler=take
            ) as client:
                await client.session.subscribe_resource("test://static")
                await told(client)
                first.cancel()
                await gone(alpha, "talk")
                beta, _ = await nursery.start(live)
                while not beta.status()["federation"]["served"]:  # it is asked anew
                    await trio.lowlevel.checkpoint()
                await available(alpha, "talk")
                await told(client)
            nursery.cancel_scope.cancel()
