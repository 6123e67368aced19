"""Nodes of which one may lie: configs/bft, and `make cluster-bft`."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
import tomli

from flowcore.cli import hard_state
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


def test_height_view_leader_and_evidence_are_shown() -> None:
    consensus = {
        "type": "bft",
        "name": "beta",
        "cluster": "one",
        "role": "voter",
        "term": 12,
        "height": 12,
        "view": 1,
        "epoch": 2,
        "faults": 1,
        "checkpoint": 9,
        "leader": "gamma",
        "commit": 40,
        "voters": list(NAMES),
        "evidence": {"alpha": "two prevotes of height 3, view 0"},
        "bad_snapshots": {"delta": 2},
        "followers": {"gamma": {"phase": "block", "match": 12, "lag": 0, "active": True}},
    }
    state = {"position": 40, "durable": True, "durable_position": 40, "disk": 1, "trouble": ""}
    answer = {"node": "beta", "state": state, "consensus": consensus}
    said = hard_state._told(msgspec.convert(answer, hard_state.StateAnswer))
    assert "bft, voter; gamma leads view 1" in said
    assert "block 12, epoch 2: 1 of 4 voters may lie; the state is certified at block 9" in said
    assert "EVIDENCE: alpha lies: it has signed two prevotes of height 3, view 0" in said
    assert "EVIDENCE: delta has sent 2 states that are not what was certified" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["alpha", "lies", "-", "-"] in rows
    assert ["gamma", "leader", "12", "0"] in rows
    assert ["beta", "voter", "12", "0", "this", "node"] in rows


@pytest.mark.long
def test_the_leader_of_four_may_be_killed() -> None:
    """What `make cluster-bft` starts, with the show that it gives."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "cluster" / "bft.py"), "--show"],
        capture_output=True,
        text=True,
        timeout=900,
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
