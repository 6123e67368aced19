"""Three nodes on one machine: `make cluster`."""

from __future__ import annotations

import re
import subprocess
import sys

import tomli

from support.node import ROOT

NAMES = ("alpha", "beta", "gamma")


def test_three_nodes_are_one_and_one_of_them_may_die() -> None:
    """What `make cluster` starts, with the show that it gives."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "cluster" / "run.py"), "--show"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Asia/Tokyo" in done.stdout
    assert "beta   dead" in done.stdout
    assert '{"still":1,"served":1}' in done.stdout
    assert "the ferry leaves at noon" in done.stdout.partition("kill -9 beta")[2]
    taken = done.stdout.rpartition("--remove beta")[2]
    assert re.search(r"^delta +(voter|leader) ", taken, re.MULTILINE)
    assert not re.search(r"^beta ", taken, re.MULTILINE)
    assert "the ferry leaves at noon" in taken


def test_the_three_configurations_differ_in_what_a_node_is_alone() -> None:
    read = [
        tomli.loads((ROOT / "configs" / "cluster" / f"{name}.toml").read_text()) for name in NAMES
    ]
    for one in read:
        assert one["swarm"]["seeds"] == read[0]["swarm"]["seeds"]
        assert one["swarm"]["bind"] in one["swarm"]["seeds"]
        assert one["agent"]["text"] == read[0]["agent"]["text"]
