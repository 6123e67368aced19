"""What is asked drifts from what was learned: it is seen, and the gate is trained anew on what is kept."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.routing import opening

TOOLS = '''
from flowcore.native import tool

@tool(read_only=True)
async def weather(text: str) -> str:
    """The weather forecast: rain, sun, temperature."""
    return text

@tool(read_only=True)
async def translate(text: str) -> str:
    """Translate a sentence into another language."""
    return text
'''


def configured(folder: pathlib.Path, **drift: Any) -> dict[str, Any]:
    (folder / "tools.py").write_text(TOOLS)
    return {
        "node": {"data_dir": str(folder / "data"), "seed": 7},
        "router": {"drift": {"window": 20, **drift}},
        "agent": {"desk": {"type": "python", "target": str(folder / "tools.py")}},
    }


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


async def drifted(flow: Flow) -> None:
    await flow.wait_settled()
    for number in range(30):
        await flow.router.teach(f"rain and sun on day {number}", "desk.weather")
    for number in range(20):
        await flow.route(f"the goalkeeper of team {number} scored twice")


async def test_drift_is_measured_and_shown(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path, retrain=False)) as flow:
        assert flow.status()["router"]["drift"]["value"] is None
        await drifted(flow)
        drift = flow.status()["router"]["drift"]
        assert drift["exceeded"]
        assert drift["value"] > 4
        for number in range(20):
            await flow.route(f"rain and sun on day {number}")
        assert not flow.status()["router"]["drift"]["exceeded"]


async def test_past_the_threshold_the_gate_is_trained_anew_and_decides_as_before(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_DRIFT_EVERY", 0.01)
    async with open_flow(configured(tmp_path)) as flow:
        await drifted(flow)
        before = await flow.route("rain and sun on day 3")
        with trio.fail_after(60):
            await flow.router.learning.wait_retrained(1)
        after = await flow.route("rain and sun on day 3")
        assert after.lessons == before.lessons == 30
        assert after.ranked[0].expert == before.ranked[0].expert == "desk.weather"
        assert after.ranked[0].probability > 0.99
        assert flow.status()["router"]["learning"]["retrained"] >= 1
        await flow.router.teach("goals of the team", "desk.translate")
        assert (await flow.route("goals of the team")).ranked[0].expert == "desk.translate"


async def test_lessons_that_come_while_it_is_trained_are_not_lost(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await drifted(flow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow.router.learning.retrain)
            for number in range(10):
                await flow.router.teach(f"word number {number} in Greek", "desk.translate")
        assert flow.router.learning.lessons == 40
        assert (await flow.route("word number 3 in Greek")).ranked[0].expert == "desk.translate"


async def learned(flow: Flow) -> bytes:
    """What the gate has learned, when it has learned all there is beside its experts."""
    await flow.wait_settled()
    with trio.fail_after(60):
        await flow.route("rain")  # by which the gate is told of experts
        await flow.router.learning.wait_retrained(1)
    assert flow.router.learning.lessons == 37
    return flow.router.learning.gate.snapshot()


async def test_a_node_that_begins_with_nothing_comes_to_the_same_gate(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(configured(tmp_path, retrain=False)) as flow:
        await drifted(flow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow.router.learning.retrain)
            for number in range(7):
                await flow.router.teach(f"word number {number} in Greek", "desk.translate")
        there = await learned(flow)
    (kept,) = (tmp_path / "data").rglob("gate")
    kept.unlink()
    async with open_flow(configured(tmp_path, retrain=False)) as flow:
        assert await learned(flow) == there


async def test_what_tells_to_train_anew_is_no_lesson(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path, retrain=False)) as flow:
        await drifted(flow)
        assert await flow.router.learning.retrain() == 30
        assert await flow.router.learning.retrain() == 30
        assert flow.status()["router"]["learning"]["retrained"] == 2


async def test_a_node_that_is_told_to_before_anybody_asked_comes_to_the_same_gate(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(configured(tmp_path, retrain=False)) as flow:
        await drifted(flow)
        await flow.router.learning.retrain()
        there = flow.router.learning.gate.snapshot()
    async with open_flow(configured(tmp_path, retrain=False)) as flow:
        await flow.router.learning.retrain()  # it does not know any expert yet
        await flow.wait_settled()
        with trio.fail_after(60):
            await flow.route("rain")
            await flow.router.learning.wait_retrained(2)
        assert flow.router.learning.gate.snapshot() == there
