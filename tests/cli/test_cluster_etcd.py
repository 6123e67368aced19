"""Nodes on an etcd: configs/cluster-etcd, and `make cluster-etcd`."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
import tomli

from support.etcds import open_etcds
from support.needs import program
from support.node import ROOT, free_ports, run, serving

FOLDER = ROOT / "configs" / "cluster-etcd"
NAMES = ("alpha", "beta", "gamma")


def test_what_one_node_keeps_another_one_has(tmp_path: pathlib.Path) -> None:
    with open_etcds(1, "--unsafe-no-fsync") as etcd:

        def words(name: str) -> list[str]:
            return [
                *free_ports("mcp", "api"),
                *("--set", f"node.data_dir={tmp_path}/{name}"),
                *("--set", f"consensus.endpoints={json.dumps(etcd.urls)}"),
                *("--set", 'consensus.patience="20s"'),
            ]

        with serving(FOLDER / "alpha.toml", *words("alpha")) as alpha:
            put = alpha.ctl("memory", "put", "the ferry leaves at noon", "--as", "ferry")
            assert put.returncode == 0, put.stderr
            with serving(FOLDER / "beta.toml", *words("beta")) as beta:
                found = beta.ctl("memory", "search", "the ferry")
                assert "the ferry leaves at noon" in found.stdout, found.stderr
                assert "its members decide; on it are alpha" in beta.ctl("members").stdout
                assert beta.end() == 0
            assert alpha.end() == 0


ALONE = """
[router]
gate = "similarity"
[consensus]
type = "raft"
voters = ["alone"]
[node]
name = "alone"
[edge.api]
type = "api"
bind = "127.0.0.1:7301"
"""


@pytest.mark.long
def test_a_state_moves_to_etcd_and_back_as_docs_etcd_md_says(tmp_path: pathlib.Path) -> None:
    alone = tmp_path / "alone.toml"
    alone.write_text(ALONE)
    saved, again = str(tmp_path / "saved"), str(tmp_path / "again")

    def words(name: str) -> list[str]:
        return [*free_ports("api"), "--set", f"node.data_dir={tmp_path}/{name}"]

    with open_etcds(1, "--unsafe-no-fsync") as etcd:
        on_etcd = tmp_path / "etcd.toml"
        moved = f'type = "etcd"\nendpoints = {json.dumps(etcd.urls)}\npatience = "20s"'
        raft = 'type = "raft"\nvoters = ["alone"]'
        assert raft in ALONE
        on_etcd.write_text(ALONE.replace(raft, moved))
        with serving(alone, *words("raft")) as node:
            put = node.ctl("memory", "put", "the ferry leaves at noon", "--as", "ferry")
            assert put.returncode == 0, put.stderr
            assert node.ctl("snapshot", "save", saved).returncode == 0
            node.end()
        there = ["--set", f"node.data_dir={tmp_path}/etcd"]
        done = run("flowctl", "snapshot", "restore", saved, "--config", str(on_etcd), *there)
        assert done.returncode == 0, done.stderr
        with serving(on_etcd, *words("etcd")) as node:
            assert node.ctl("memory", "get", "ferry").stdout == "the ferry leaves at noon\n"
            assert node.ctl("memory", "put", "at one", "--as", "train").returncode == 0
            shown = node.ctl("log")
            assert "at one" in shown.stdout, shown.stderr
            assert node.ctl("snapshot", "save", again).returncode == 0
            node.end()
        back = ["--set", f"node.data_dir={tmp_path}/back"]
        done = run("flowctl", "snapshot", "restore", again, "--config", str(alone), *back)
        assert done.returncode == 0, done.stderr
        with serving(alone, *words("back")) as node:
            assert node.ctl("memory", "get", "ferry").stdout == "the ferry leaves at noon\n"
            assert node.ctl("memory", "get", "train").stdout == "at one\n"
            node.end()


@pytest.mark.long
def test_etcd_and_a_node_may_be_killed() -> None:
    """What `make cluster-etcd` starts, with the show that it gives."""
    program("etcd")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "cluster" / "etcd.py"), "--show"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, _, after = done.stdout.partition("kill -9 etcd")
    assert "the ferry leaves at noon" in before
    assert "no commands are taken just now" in after
    assert "the train leaves at one" in after.partition("kill -9 beta")[2]


def test_the_three_configurations_keep_the_same_in_the_same_etcd() -> None:
    read = [tomli.loads((FOLDER / f"{name}.toml").read_text()) for name in NAMES]
    assert [one["node"]["name"] for one in read] == list(NAMES)
    for one in read:
        assert one["consensus"] == read[0]["consensus"]
        assert one["agent"] == read[0]["agent"]
    assert len({one["node"]["data_dir"] for one in read}) == 3
