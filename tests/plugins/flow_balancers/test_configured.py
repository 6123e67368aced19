"""Balancers as a configuration has them: who answers, of several workers of one agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from flowcore import Flow, open_flow

WHO = """
from flowcore.native import NativeAgent, tool


class Who:
    def __init__(self, agent: NativeAgent) -> None:
        self.agent = agent

    @tool
    async def am_i(self) -> str:
        return self.agent.worker
"""


@asynccontextmanager
async def three_workers(folder: Path, balancer: Any) -> AsyncGenerator[Flow]:
    (folder / "who.py").write_text(WHO)
    agent = {
        "type": "python",
        "target": str(folder / "who.py:Who"),
        "pool": {"min": 3, "max": 3},
        "balancer": balancer,
    }
    async with open_flow({"agent": {"who": agent}}) as flow:
        with trio.fail_after(60):
            while (pool := flow.agent("who").statistics().pool) is None or pool.workers < 3:
                await trio.lowlevel.checkpoint()
        yield flow


@pytest.mark.parametrize(
    ("balancer", "shares"),
    [
        ({"type": "weighted", "weights": [5, 3, 2]}, [50, 30, 20]),
        ({"type": "weighted", "weights": [8]}, [80, 10, 10]),
        ("round_robin", [34, 33, 33]),
        ("least_connections", [100]),
    ],
)
async def test_each_shares_calls_its_own_way(
    tmp_path: Path, balancer: Any, shares: list[int]
) -> None:
    async with three_workers(tmp_path, balancer) as flow:
        taken = Counter([(await flow.call("who.am_i")).text for _ in range(100)])
    assert [count for _, count in taken.most_common()] == shares


async def test_calls_of_one_affinity_meet_one_worker(tmp_path: Path) -> None:
    async with three_workers(tmp_path, "consistent_hash") as flow:
        met: dict[str, set[str]] = {}
        for _ in range(3):
            for affinity in map(str, range(20)):
                worker = (await flow.call("who.am_i", affinity=affinity)).text
                met.setdefault(affinity, set()).add(worker)
    assert all(len(workers) == 1 for workers in met.values())
    assert len(set.union(*met.values())) == 3
