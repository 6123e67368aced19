"""The benchmark of topologies runs, small."""

from __future__ import annotations

import pytest

from benchmarks import topologies


@pytest.mark.long
def test_the_family_measures_real_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for what, value in {"ROUNDS": "1", "CALLS": "20", "SECONDS": "1"}.items():
        monkeypatch.setenv(f"FLOW_TOPOLOGIES_{what}", value)
    monkeypatch.setattr(topologies, "TOPOLOGIES", {"star": "star"})
    monkeypatch.setattr(topologies, "SIZES", (5,))
    figures = {one.name: one for one in topologies.run()}
    assert figures["star: links of a node, most"].value == 4
    assert figures["star: first node killed: dead for all, most"].bar == 5
    assert figures["star: first node killed: service again, most"].bar == 2
    hops = [one for one in figures if one.startswith("star: call over")]
    assert hops == ["star: call over 1 hop, p50", "star: call over 2 hops, p50"]
    assert all(one.value and one.value > 0 for one in figures.values())
