"""Nodes of which one may lie: configs/bft, and `make cluster-bft`."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tomli

from support.node import ROOT, run

FOLDER = ROOT / "configs" / "bft"
NAMES = ("alpha", "beta", "gamma", "delta")


def test_the_four_configurations_are_of_one_cluster() -> None:
    read = [tomli.loads((FOLDER / f"{name}.toml").read_text()) for name in NAMES]
    assert [one["node"]["name"] for one in read] == list(NAMES)
    for one in read:
        assert one["consensus"] == read[0]["consensus"]
        assert one["swarm"]["seeds"] == read[0]["swarm"]["seeds"]
    assert len({one["node"]["data_dir"] for one in read}) == 4


def test_three_voters_are_refused_with_the_reason() -> None:
    voters = 'consensus.voters=["alpha", "beta", "gamma"]'
    path = str(FOLDER / "alpha.toml")
    done = run("flowserve", "--config", path, "--check-config", "--set", voters)
    assert done.returncode == 2
    assert "3 voters cannot outvote one that lies: expected N >= 3f + 1" in done.stderr
    assert run("flowserve", "--config", path, "--check-config").returncode == 0


@pytest.mark.long
def test_the_leader_of_four_may_be_killed() -> None:
    """What `make cluster-bft` starts, with the show that it gives."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "cluster_bft" / "run.py"), "--show"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, _, after = done.stdout.partition("kill -9 alpha")
    assert "block" in before
    assert "alpha leads view 0" in before
    assert "1 of 4 voters may lie" in before
    assert "the ferry leaves at noon" in before
    assert "the train leaves at one" in after
    assert "beta leads view 0" in after
