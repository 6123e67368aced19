"""Call and reply between in-process agents, through directory, tracker, pool and balancer."""

from __future__ import annotations

import math
import time

import msgspec
import trio

from benchmarks.report import Figure
from flowcore import Envelope, open_flow
from flowcore.flow import Flow

CALLS = 20_000
ROUNDS = 5


def run() -> list[Figure]:
    """One core's figure: CPU time of a call, the best of some rounds, and what that is a second."""
    return trio.run(_measure)


async def _measure() -> list[Figure]:
    config = {"agent": {"echo": {"type": "python", "target": "benchmarks.agents:echo"}}}
    async with open_flow(config) as flow:
        await flow.wait_settled()
        best = min([await _round(flow) for _ in range(ROUNDS)])
        convenient = min([await _round_of_calls(flow) for _ in range(ROUNDS)])
        return [
            Figure(name="call and reply", value=1 / best, unit="/s", bar=25_000, least=True),
            Figure(name="CPU per call and reply", value=best * 1e6, unit="µs", bar=40),
            Figure(name="CPU per flow.call with JSON both ways", value=convenient * 1e6, unit="µs"),
        ]


async def _round(flow: Flow) -> float:
    """CPU seconds of one call, through everything but JSON that nobody reads."""
    params = {"arguments": msgspec.Raw(b'{"text":"hello"}')}
    began = time.process_time()
    for _ in range(CALLS):
        target = flow.directory.resolve("tools", "echo.echo")
        await flow.submit(
            Envelope(agent=target.agent, name=target.name, params=dict(params), deadline=math.inf)
        )
    return (time.process_time() - began) / CALLS


async def _round_of_calls(flow: Flow) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        await flow.call("echo.echo", {"text": "hello"})
    return (time.process_time() - began) / CALLS
