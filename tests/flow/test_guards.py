"""Guards as a node has them: chosen in TOML, named where they stand, seen in the status."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from flowcore import open_flow
from flowcore.agents import BreakerChanged
from flowcore.config import ConfigError
from flowcore.errors import AgentUnavailable, DeadlineExceeded, Overloaded, UnknownTarget
from flowcore.flow import Flow
from flowcore.requests import Principal
from support.node import ROOT

ADA, BOB = Principal(name="ada"), Principal(name="bob")
AGENTS = f"""
[agent.demo]
type = "python"
target = "{ROOT}/tests/support/agents.py"
deadline = "2s"
"""
RATES = (
    """
[requests]
guards = ["rates"]
[guard.rates]
type = "rate_limit"
principal = { rate = 0.01, burst = 3 }
weights = { "demo.add" = 2 }
"""
    + AGENTS
)
BREAKER = (
    """
[guard.care]
type = "breaker"
calls = 4
open = "10s"
"""
    + AGENTS
    + 'guards = ["care"]\n'
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def outcomes(flow: Flow, times: int, **about: Any) -> list[str]:
    found = []
    for _ in range(times):
        try:
            await flow.call("demo.echo", {"text": "x"}, **about)
        except Overloaded as error:
            assert error.retry_after is not None
            found.append("refused")
        else:
            found.append("result")
    return found


async def test_a_rate_limit_stands_before_all_requests() -> None:
    async with open_flow(RATES) as flow:
        await flow.wait_settled()
        await flow.call("demo.add", {"a": 1, "b": 2}, principal=ADA)
        assert await outcomes(flow, 3, principal=ADA) == ["result", "refused", "refused"]
        assert await outcomes(flow, 4, principal=BOB) == ["result"] * 3 + ["refused"]
        about = flow.status()["guards"]["rates"]
        assert about["type"] == "rate_limit"
        assert (about["allowed"], about["refused"]["principal"]) == (5, 3)
        assert flow.status()["requests"]["results"] == 5


async def test_a_breaker_stands_before_its_agent_and_says_so_everywhere(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_flow(BREAKER) as flow, flow.events() as events:
        await flow.wait_settled()
        mock_clock.autojump_threshold = (
            0  # not sooner: it would not wait for the thread of an import
        )
        for _ in range(4):
            with pytest.raises(DeadlineExceeded):
                await flow.call("demo.wait", {"seconds": 1000})
        with pytest.raises(AgentUnavailable, match="the breaker of agent 'demo' is open") as caught:
            await flow.call("demo.echo", {"text": "x"})
        assert caught.value.retry_after == pytest.approx(10.0)
        about = flow.status()["guards"]["care"]["agents"]["demo"]
        assert (about["state"], about["reason"], about["refused"]) == (
            "open",
            "4 of 4 calls failed within 60 s",
            1,
        )
        care = next(one for one in flow.components() if one.component == "guard.care")
        assert (care.status.value, care.reason) == ("degraded", "not closed for demo")
        assert flow.ready
        await trio.sleep(10.0)
        for _ in range(2):
            await flow.call("demo.echo", {"text": "x"})
        assert flow.guard("care").status()["agents"]["demo"]["state"] == "closed"
        care = next(one for one in flow.components() if one.component == "guard.care")
        assert care.status.value == "ok"
        seen = []
        while events.statistics().current_buffer_used:
            event = await events.receive()
            if isinstance(event, BreakerChanged):
                seen.append((event.agent, event.old, event.new))
        assert seen == [
            ("demo", "closed", "open"),
            ("demo", "open", "half open"),
            ("demo", "half open", "closed"),
        ]


async def test_a_guard_does_what_an_operator_asks() -> None:
    async with open_flow(BREAKER) as flow:
        await flow.wait_settled()
        assert flow.guard("care").act("open", {"agent": "demo"})["state"] == "forced open"
        with pytest.raises(AgentUnavailable, match="forced open: by an operator"):
            await flow.call("demo.echo", {"text": "x"})
        flow.guard("care").act("auto", {"agent": "demo"})
        await flow.call("demo.echo", {"text": "x"})
        with pytest.raises(UnknownTarget, match="there is no agent 'nobody'"):
            flow.guard("care").act("open", {"agent": "nobody"})
        with pytest.raises(UnknownTarget, match="there is no guard 'nothing'"):
            flow.guard("nothing")


async def test_a_limit_of_calls_at_a_time_refuses_what_does_not_fit(
    mock_clock: trio.testing.MockClock,
) -> None:
    text = (
        AGENTS
        + """
guards = ["crowd"]
pool = { max = 20 }
[guard.crowd]
type = "concurrency"
limit = { initial = 5, least = 5 }
"""
    )
    async with open_flow(text) as flow:
        await flow.wait_settled()
        mock_clock.autojump_threshold = 0
        ends = []

        async def ask() -> None:
            try:
                await flow.call("demo.wait", {"seconds": 1000})
            except (Overloaded, DeadlineExceeded) as error:
                ends.append(type(error).__name__)

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(ask)
        assert ends == ["Overloaded"] * 7 + ["DeadlineExceeded"] * 5
        assert flow.status()["guards"]["crowd"]["refused"]["normal"] == 7


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[guard.care]\ntype = "breaker"\nalternatives = [["demo", "demos"]]\n',
            "there is no agent 'demos', did you mean 'demo'? (known: demo)",
        ),
        (
            '[guard.rates]\ntype = "rate_limit"\nweights = { "dmeo.add" = 2 }\n',
            "there is no agent 'dmeo', did you mean 'demo'? (known: demo)",
        ),
        (
            '[guard.rates]\ntype = "rate_limit"\nagents = { other = { rate = 1 } }\n',
            "there is no agent 'other' (known: demo)",
        ),
    ],
)
async def test_a_guard_that_speaks_of_nobody_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_flow(text + AGENTS):
            raise AssertionError
    assert problem in str(caught.value)
