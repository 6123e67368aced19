"""Clients of one node, of agents that are at another: the official client, and the official suite."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator
from typing import Literal

import pytest
import trio

import mcp
from support.flows import TALK, two
from support.conformance import EVERYTHING, Version, run_suite
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
    with trio.fail_after(60):
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
    with trio.fail_after(60):
        async with two(tmp_path, TALK) as (alpha, beta):
            async with mcp.Client(alpha.endpoints["mcp"][0], mode=mode) as client:
                with trio.move_on_after(0.3):
                    await client.call_tool("hang", {})
                while (await text_of(client, "cancellations")) != '{"cancelled":1}':
                    await trio.lowlevel.checkpoint()
            assert not beta.requests.tracker.running


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_the_official_suite_passes_at_another_node(
    version: Version, tmp_path: pathlib.Path
) -> None:
    async with two(tmp_path / "nodes", EVERYTHING) as (alpha, _):
        score = await run_suite(alpha.endpoints["mcp"][0], version, tmp_path)
    assert score.whole, "\n".join([str(score), *score.problems])
