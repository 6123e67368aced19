"""Agents that a program gives itself, and what calls tell it while they work."""

from __future__ import annotations

import logging
import types
from typing import Any

import pytest

from flowcore import open_flow
from flowcore.agents import State
from flowcore.config import ConfigError, Given, show
from flowcore.native import CallContext, tool
from support.upstreaming import stdio_server


class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    @tool
    async def up(self, by: int = 1) -> int:
        """Count up."""
        self.count += by
        return self.count


def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


def agents(**targets: Any) -> dict[str, Any]:
    return {name: {"type": "python", "target": target} for name, target in targets.items()}


async def test_an_object_is_the_agent_itself_and_a_class_makes_workers() -> None:
    counter = Counter(5)
    config = {"agent": agents(mine=counter, each=Counter, sums=double)}
    config["agent"]["each"] |= {"options": {"start": 7}, "pool": {"min": 1, "max": 1}}
    async with open_flow(config) as flow:
        assert (await flow.call("mine.up")).text == "6"
        assert counter.count == 6
        assert (await flow.call("each.up", {"by": 3})).text == "10"
        assert (await flow.call("sums.double", {"number": 21})).text == "42"
        assert f'target = "{__name__}.double"' in show(flow.config)
        flow.agent("mine").restart()
        await flow.agent("mine").wait_until(State.STARTING, State.DRAINING)
        assert (await flow.call("mine.up")).text == "7"


async def test_a_module_made_by_the_program_and_a_function_within_one() -> None:
    module = types.ModuleType("made")

    @tool
    async def here() -> str:
        """Say where."""
        return "here"

    module.here = here  # type: ignore[attr-defined]
    here.__module__ = "made"
    async with open_flow({"agent": agents(made=module, alone=Given(lambda x: x))}) as flow:
        await flow.wait_settled()
        assert (await flow.call("made.here")).text == "here"


@pytest.mark.parametrize("target", [5, b"x", ["a"], None, 1.5])
async def test_what_can_only_be_a_mistake_is_told_as_such(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"agent\.a\.target: expected a string"):
        async with open_flow({"agent": agents(a=target)}):
            raise AssertionError("never entered")


async def test_what_nothing_can_be_called_of_fails_alone() -> None:
    async with open_flow({"agent": agents(a=object(), b=double)}) as flow:
        await flow.wait_settled()
        assert "nothing in it is marked with @tool" in flow.agent("a").reason
        assert flow.agent("b").state.available


async def test_reading_it_again_changes_nothing() -> None:
    config = {"agent": agents(mine=Counter(), sums=double)}
    async with open_flow(config) as flow:
        await flow.wait_settled()
        await flow.call("mine.up")
        done = await flow.reload(config)
        assert (done.applied, done.restart, done.failed) == ((), (), ())
        assert (await flow.call("mine.up")).text == "2"


async def test_progress_is_heard_of_agents_in_python_and_of_upstreams(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @tool
    async def steps(context: CallContext) -> str:
        """Tell of three."""
        for step in (1, 2, 3):
            context.progress(step, 3, f"step {step}")
        context.log("not progress")
        return "done"

    config = {"agent": agents(mine=steps)}
    config["agent"]["upstream"] = {"type": "mcp", "command": list(stdio_server())}
    async with open_flow(config) as flow:
        heard: list[tuple[float, float | None, str | None]] = []
        await flow.call("mine.steps", on_progress=lambda *told: heard.append(told))
        assert heard == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
        heard.clear()
        await flow.call("upstream.progress", on_progress=lambda *told: heard.append(told))
        assert heard == [(1, 3, None), (2, 3, None), (3, 3, None)]

        def fail(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))
            raise ValueError("mine")

        heard.clear()
        caplog.set_level(logging.ERROR)
        assert (await flow.call("mine.steps", on_progress=fail)).text == "done"
        assert len(heard) == 1
        assert "on_progress failed" in caplog.text
