"""The benchmark of bft runs, small."""

from __future__ import annotations

import pytest

from benchmarks import bft


@pytest.mark.long
def test_the_family_measures_writes_beside_raft_and_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOW_BFT_SECONDS", "0.5")
    monkeypatch.setenv("FLOW_BFT_CLIENTS", "16")
    monkeypatch.setenv("FLOW_BFT_NODES", "4")
    figures = {one.name: one for one in bft.run()}
    for name in (
        "16 clients: raft, 3 nodes: p50",
        "16 clients: bft, 4 nodes: p50",
        "16 clients: bft, 4 nodes: writes",
        "16 clients: raft, 4 nodes: p50",
        "16 clients: bft, 4 nodes: p50 over raft's",
        "16 clients: bft, 4 nodes: p50 over that of 3 nodes of raft",
        "floor: one signature made",
        "floor: one signature checked",
        "floor: signatures and fsyncs of one command, 4 nodes (f = 1)",
    ):
        assert figures[name].value
    ours = figures["16 clients: bft, 4 nodes: p50"].value
    theirs = figures["16 clients: raft, 4 nodes: p50"].value
    over = figures["16 clients: bft, 4 nodes: p50 over raft's"]
    assert ours
    assert theirs
    assert over.value == ours / theirs
    assert over.bar == 5.0
    assert figures["16 clients: bft, 4 nodes: p50 over that of 3 nodes of raft"].bar is None
    assert {"nodes", "clients", "raft", "floor"} <= bft.setup().keys()


def test_the_floor_is_of_what_a_command_waits_for() -> None:
    figures = {one.name: one for one in bft._floor([4, 7])}
    assert len(figures) == 4
    assert all(one.value for one in figures.values())
