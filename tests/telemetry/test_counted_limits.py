"""Limits, memory, the loop, a gate that drifts, an index that misses: the numbers are what a test did."""

from __future__ import annotations

import pathlib
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import trio

from flowcore import Flow, open_flow
from flowcore.errors import Overloaded
from flowcore.telemetry import Distribution, Snapshot
from support.node import ROOT

AGENTS = f"{ROOT}/tests/support/agents.py"


async def test_limits_tell_what_is_left_and_what_runs() -> None:
    config = {
        "requests": {"guards": ["rates", "busy"]},
        "guard": {
            "rates": {"type": "rate_limit", "total": {"rate": 0.001, "burst": 9}},
            "busy": {"type": "concurrency", "limit": {"initial": 3, "least": 3, "most": 3}},
        },
        "agent": {"tools": {"type": "python", "target": AGENTS}},
    }
    async with open_flow(config) as flow, trio.open_nursery() as nursery:
        await flow.wait_settled()
        tokens = (await flow.metrics.snapshot()).value("flowcore.rate_limit.tokens", "rates")
        assert tokens == pytest.approx(9, abs=0.1)
        for _ in range(2):
            await flow.call("tools.echo", {"text": "x"})
        waits = partial(flow.call, "tools.wait", {"seconds": 3600}, deadline=3600.0)
        agent = flow.agents["tools"]
        for count in range(1, 4):
            nursery.start_soon(waits)
            while agent.statistics().running < count:
                await trio.lowlevel.checkpoint()
        with pytest.raises(Overloaded):
            await flow.call("tools.echo", {"text": "x"})
        told = await flow.metrics.snapshot()
        assert told.value("flowcore.concurrency.limit", "busy", "tools") == 3
        assert told.value("flowcore.concurrency.running", "busy", "tools") == 3
        assert told.value("flowcore.guard.refused", "busy", "normal") == 1
        assert told.value("flowcore.guard.allowed", "busy") == 5
        left = told.value("flowcore.rate_limit.tokens", "rates")
        assert left == pytest.approx(9 - 6, abs=0.1)
        assert told.value("flowcore.rate_limit.principals", "rates") == 1
        nursery.cancel_scope.cancel()


async def test_a_held_loop_and_memory_that_was_taken_are_seen() -> None:
    async with open_flow({"exporter": {"scraped": {"type": "prometheus"}}}) as flow:
        await trio.sleep(0.15)  # it has had a turn, and waits for the next one
        before = await flow.metrics.snapshot()
        time.sleep(0.4)  # noqa: ASYNC251 - the loop is held on purpose
        await trio.sleep(0.15)
        taken = bytearray(b"x") * 64_000_000
        after = await flow.metrics.snapshot()
        late = after.value("flowcore.loop.lateness"), before.value("flowcore.loop.lateness")
        assert all(isinstance(one, Distribution) for one in late)
        now, then = late
        assert isinstance(now, Distribution)
        assert isinstance(then, Distribution)
        assert now.sum - then.sum >= 0.3
        long = now.bounds.index(0.2)
        assert sum(now.counts[long + 1 :]) - sum(then.counts[long + 1 :]) >= 1
        grown = _memory(after) - _memory(before)
        assert 60_000_000 <= grown <= 120_000_000
        del taken


def _memory(snapshot: Snapshot) -> int:
    found = snapshot.value("process.memory.usage")
    assert isinstance(found, int)
    return found


@pytest.fixture
def routed(tmp_path: pathlib.Path) -> dict[str, Any]:
    return {
        "node": {"name": "routed", "data_dir": str(tmp_path)},
        "agent": {"tools": {"type": "python", "target": AGENTS}},
        "router": {
            "embedder": "hashed",
            "index": {"type": "hnsw", "front": 20, "sample": 1.0},
            "gate": "moe",
            "feedback": {"lessons": {"rate": 1000, "burst": 1000}},
        },
        "storage": {"type": "memory"},
        "state": {},
    }


async def test_the_gates_drift_is_that_of_its_lessons(routed: dict[str, Any]) -> None:
    async with open_flow(routed) as flow:
        await flow.wait_settled()
        said = ["add two numbers please"] * 150 + ["wait for the evening train"] * 70
        vectors = {one: await _vector(flow, one) for one in set(said)}
        for one in said:
            await flow.router.teach(one, "tools.add" if "add" in one else "tools.wait")
        told = await _reached(flow, len(said), "flowcore.gate.lessons")
        means = np.zeros((2, len(vectors[said[0]])))
        for count, one in enumerate(said, 1):
            for row, share in enumerate((1 / 200, 1 / 5000)):
                means[row] += (vectors[one] - means[row]) * max(share, 1 / count)
        cosine = means[0] @ means[1] / np.prod(np.linalg.norm(means, axis=1))
        assert told.value("flowcore.gate.drift") == pytest.approx(1 - cosine, abs=2e-4)
        forgetting = told.value("flowcore.gate.forgetting")
        # what was learned first is still told right when it is tried again
        assert forgetting == pytest.approx(0.0, abs=0.02)


async def _reached(flow: Flow, number: int, name: str, *labels: str) -> Snapshot:
    """Wait until a metric is so much; all of them."""
    with trio.fail_after(20):
        while True:
            told = await flow.metrics.snapshot()
            if told.value(name, *labels) == number:
                return told
            await trio.sleep(0.01)


async def _vector(flow: Flow, text: str) -> Any:
    (vector,) = await flow.router.embedder.embed([text])
    return np.asarray(vector, np.float64)


async def test_recall_is_what_exact_search_says(routed: dict[str, Any]) -> None:
    async with open_flow(routed) as flow:
        await flow.wait_settled()
        (name, index) = next(iter(flow.router.memory.indexes().items()))
        before = index.count
        chance = np.random.default_rng(7)
        vectors = chance.normal(size=(1500, 384)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        first = 10**9
        await index.add(np.arange(first, first + len(vectors)), vectors)
        await index.settle()
        found = 0
        for count, query in enumerate(vectors[:9] + vectors[9:18], 1):
            query /= np.linalg.norm(query)
            ids = (await index.search(query, 10)).ids
            exact = np.argsort(-(vectors @ query))[:10] + first
            found += len(set(ids.tolist()) & set(exact.tolist()))
            # one after the other: a search while another is done again is no sample
            told = await _reached(flow, count, "flowcore.index.recall.samples", name)
        assert told.value("flowcore.index.recall.found", name) == pytest.approx(found / 10)
        assert 0 < found < 90  # it is an index that misses something
        assert told.value("flowcore.index.vectors", name) == before + len(vectors)
        memory = told.value("flowcore.index.memory", name)
        assert isinstance(memory, int)
        assert memory >= 1500 * 384  # a byte a number at least
