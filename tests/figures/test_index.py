"""The benchmark of vector indexes runs, small, and goes on where it was."""

from __future__ import annotations

import json
import pathlib

import pytest

from benchmarks import index
from benchmarks.contenders import PEERS


@pytest.mark.long
def test_the_family_measures_a_small_index(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_INDEX_SIZES", "3000")
    monkeypatch.setenv("FLOW_INDEX_FOLDER", str(tmp_path))
    figures = {one.name: one for one in index.run()}
    found = figures["3,000 vectors: recall@10"]
    assert found.met
    assert found.peers.keys() == {"usearch alone", "usearch by hand", "faiss"}
    by_hand = found.peers["usearch by hand"].value
    assert by_hand == pytest.approx(found.value, abs=2e-3)  # the same answers
    measured = (PEERS / "routing" / "bin" / "python").exists()
    assert (found.peers["faiss"].value is not None) == measured
    assert figures["3,000 vectors, exact: recall@10"].value == pytest.approx(1.0, abs=1e-3)
    assert figures["3,000 vectors: search, p50"].peers["usearch alone"].value
    assert figures["3,000 vectors: what our layer adds to usearch at the p50"].bar == 15.0
    assert all(one.value is not None for one in figures.values())
    assert "M 16" in index.setup()["hnsw"]

    again = index._program("build", tmp_path / "hnsw 3000", "hnsw", 3000)
    assert again["resumed"] == 3000
    json.dumps(again)
