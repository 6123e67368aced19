"""The benchmarks of commit and fail-over run, small, and say what they could not measure."""

from __future__ import annotations

import pathlib

import pytest

from benchmarks import clusters, commit, failover


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers are what the benchmark itself is for."""
    monkeypatch.setattr(commit, "missing", _missing)
    monkeypatch.setattr(failover, "missing", _missing)


def _missing(who: str) -> str:
    return "" if who == clusters.OURS else "is left out"


@pytest.mark.long
def test_the_family_measures_writes_and_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_COMMIT_SECONDS", "0.5")
    monkeypatch.setenv("FLOW_COMMIT_CLIENTS", "16")
    monkeypatch.setenv("FLOW_COMMIT_ROUNDS", "1")
    figures = {one.name: one for one in commit.run()}
    p50, p99 = figures["16 clients: p50"], figures["16 clients: p99"]
    assert p50.value is not None
    assert p99.value is not None
    assert p50.value <= p99.value
    assert p99.bar == 20.0
    assert p50.peers[clusters.ETCD].why == "is left out"
    assert figures["16 clients: p50 over etcd's"].met is False
    for name in ("16 clients: writes", "16 clients: CPU of all nodes per write"):
        assert figures[name].value
    assert figures[f"16 clients: {commit.IN_PROCESS}"].value
    assert figures["floor: one fsync, p50"].value
    assert figures["floor: one round trip, p50"].value
    assert {*clusters.KINDS, "floor"} <= commit.setup().keys()


@pytest.mark.long
def test_the_family_measures_how_long_nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_FAILOVER_ROUNDS", "1")
    figures = {one.name: one for one in failover.run()}
    p99 = figures["the leader is killed: writes again after, p99"]
    assert p99.value
    assert p99.bar == 2.0
    assert p99.peers[clusters.ETCD].value is None


@pytest.mark.parametrize("who", [clusters.ETCD, clusters.PYSYNCOBJ])
def test_a_peer_that_is_not_here_is_named(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_PYTHON", pathlib.Path("nowhere"))
    monkeypatch.setenv("PATH", "")
    assert "is not installed" in clusters.missing(who)
