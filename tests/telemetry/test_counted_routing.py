"""What a router chose, how sure it was, and what it missed, are the events that a test caused."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from flowcore import open_flow
from flowcore.telemetry import Distribution, Snapshot
from support.node import ROOT

CONFIG: dict[str, Any] = {
    "agent": {"tools": {"type": "python", "target": f"{ROOT}/tests/support/agents.py"}},
    "router": {"embedder": "hashed", "index": "exact", "gate": "moe"},
    "state": {},
}


def total(snapshot: Snapshot, name: str) -> float:
    """The sum over all labels; of distributions, how many were counted."""
    family = snapshot.family(name)
    assert family is not None, name
    values = [value for _, value in family.points]
    return sum(one.count if isinstance(one, Distribution) else one for one in values)


async def test_routes_lessons_and_memory_are_counted(tmp_path: pathlib.Path) -> None:
    config = {**CONFIG, "node": {"name": "routed", "data_dir": str(tmp_path)}}
    async with open_flow(config) as flow:
        await flow.wait_settled()
        router = flow.router
        routes = [await router.route("add two numbers") for _ in range(4)]
        first, second = (one.expert for one in routes[0].ranked[:2])
        await router.feedback(routes[0].id, first, 1.0)  # it was right
        await router.feedback(routes[1].id, first, 0.25)  # not quite
        await router.feedback(routes[2].id, second, 1.0)  # another was right
        await router.feedback(
            routes[3].id, second, 0.0
        )  # another was wrong: of the first nothing is known
        await router.teach("say it again", second)  # of no route
        for number in range(3):
            await router.memory.put("notes", f"note {number}")
        assert len(await router.memory.search("notes", "note", 2)) == 2

        snapshot = await flow.metrics.snapshot()
        for name, wanted in {
            "flowcore.router.routes": 4,
            "flowcore.router.choices": 4,
            "flowcore.router.confidence": 4,
            "flowcore.router.route.duration": 4,
            "flowcore.router.judged": 3,
            "flowcore.router.learned": 5,
            "flowcore.router.lessons_dropped": 0,
            "flowcore.gate.lessons": 5,
            "flowcore.memory.search.duration": 1,
            "flowcore.router.experts": len(flow.agents["tools"].catalog.tools),
        }.items():
            assert total(snapshot, name) == wanted, name
        assert snapshot.value("flowcore.router.regret") == pytest.approx(0.0 + 0.75 + 1.0)
        assert snapshot.value("flowcore.router.lessons", "explicit") == 5
        assert snapshot.value("flowcore.router.lessons", "implicit") == 0
        assert snapshot.value("flowcore.memory.operations", "put") == 3
        assert snapshot.value("flowcore.memory.operations", "searched") == 1
        assert snapshot.value("flowcore.router.choices", "tools") == 4
        confidence = snapshot.value("flowcore.router.confidence")
        assert isinstance(confidence, Distribution)
        assert confidence.sum == pytest.approx(sum(one.ranked[0].probability for one in routes))
        loss = snapshot.value("flowcore.gate.loss")
        assert isinstance(loss, float)
        assert loss > 0
        position = snapshot.value("flowcore.state.position")
        assert position == flow.state.position == snapshot.value("flowcore.consensus.commit")
        assert snapshot.value("flowcore.state.patterns") == flow.state.status()["patterns"]
        for name, own in flow.router.memory.indexes().items():
            assert snapshot.value("flowcore.index.vectors", name) == own.count
        fsyncs = snapshot.value("flowcore.storage.fsync.duration")
        assert isinstance(fsyncs, Distribution)
        assert fsyncs.count >= 8
