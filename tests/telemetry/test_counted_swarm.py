"""What travels between nodes is counted at both ends of its way."""

from __future__ import annotations

import pathlib

import trio

from support.flows import nodes


async def test_forwarded_here_is_served_there(tmp_path: pathlib.Path) -> None:
    with trio.fail_after(60):
        async with nodes(tmp_path, "alpha", "beta") as flows:
            alpha, beta = flows["alpha"], flows["beta"]
            for _ in range(5):
                await alpha.call("of-beta.echo", {"text": "hello"})
            here, there = await alpha.metrics.snapshot(), await beta.metrics.snapshot()
    assert here.value("flowcore.federation.forwarded") == 5
    assert there.value("flowcore.federation.forwarded") == 0
    assert there.value("flowcore.federation.served") == 5
    assert here.value("flowcore.federation.served") == 0
    assert there.value("flowcore.agent.calls", "of-beta") == 5
    for snapshot, peer in ((here, "beta"), (there, "alpha")):
        members = snapshot.family("flowcore.swarm.members")
        assert members is not None
        assert {labels[0] for labels, _ in members.points} == {"alive", "suspect", "dead", "left"}
        assert sum(count for _, count in members.points if isinstance(count, int)) == 2
        assert snapshot.value("flowcore.swarm.reachable") == 1
        assert snapshot.value("flowcore.swarm.unreachable") == 0
        assert snapshot.value("flowcore.links.up") == 1
        for direction in ("in", "out"):
            assert snapshot.value("flowcore.link.frames", peer, direction)
        assert snapshot.value("flowcore.link.lane.dropped", peer, "requests") == 0
