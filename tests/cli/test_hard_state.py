"""flowctl state, members, log and snapshot against a real node; what was saved is there in another one."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable, Generator

import pytest

from flowcore.cli import flowctl
from support.node import Node, free_ports, serving

Offline = Callable[..., tuple[int, str, str]]
CONFIG = """
[consensus]
type = "raft"
[router]
gate = "similarity"
[edge.api]
type = "api"
bind = "127.0.0.1:7301"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("node") / "flow.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def node(config: pathlib.Path) -> Generator[Node]:
    with serving(config, "--set", f"node.data_dir={config.parent}/data", *free_ports("api")) as one:
        assert one.ctl("memory", "put", "the ferry leaves at noon", "--as", "ferry").returncode == 0
        yield one
        one.end()


@pytest.fixture
def offline(capsys: pytest.CaptureFixture[str]) -> Offline:
    """flowctl snapshot, where no node is asked: code, output, errors."""

    def run(*words: str) -> tuple[int, str, str]:
        code = flowctl.run(["snapshot", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_state_tells_who_leads_how_far_it_is_and_what_the_disk_took(node: Node) -> None:
    shown = node.ctl("state")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"raft, leader; flow leads in term 1", shown.stdout)
    assert re.search(r"committed (\d+), applied \1 \(0 behind\)", shown.stdout)
    told = node.ctl_json("state")
    engine, state = told["consensus"], told["state"]
    assert engine["commit"] == engine["last"] == state["position"] == engine["storage"]["last"]
    fsync, commit = engine["storage"]["fsync_seconds"], engine["commit_seconds"]
    assert fsync["count"] >= commit["count"] >= 1
    assert 0 < fsync["p50"] <= fsync["p99"] <= fsync["longest"]
    assert 0 < commit["p50"] <= commit["p99"]
    assert engine["elections"] == 1
    assert engine["storage"]["bytes"] > 0
    node.ctl("memory", "put", "the train leaves at one")
    again = node.ctl_json("state")
    assert again["consensus"]["commit_seconds"]["count"] == commit["count"] + 1
    assert again["state"]["position"] == state["position"] + 1


def test_the_log_can_be_read(node: Node) -> None:
    found = node.ctl_json("log", "--from", "1", "-n", "2")
    first, second = found["entries"]
    assert (first["position"], first["kind"], first["note"]) == (1, "engine", "a leader begins")
    assert (second["position"], second["kind"], second["committed"]) == (2, "PutPatterns", True)
    (pattern,) = second["command"]["patterns"]
    assert (pattern["key"], pattern["text"]) == ("ferry", "the ferry leaves at noon")
    assert pattern["vector"] == "1536 bytes"
    shown = node.ctl("log")
    assert "the ferry leaves" in shown.stdout
    assert node.ctl("log", "--from", "99999").stdout.startswith("the log ends at ")
    wrong = node.ctl("log", "--from", "0")
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "flowctl: expected a position from 1 on, not 0\n",
    )


def test_members_are_added_and_removed_and_what_makes_no_sense_is_refused(node: Node) -> None:
    unheard = node.ctl("members", "add", "flow", "other")
    assert (unheard.returncode, unheard.stderr) == (
        1,
        "flowctl: flow has not heard of ['other'], expected some of ['flow']: start it first, or say force"
        " (flowctl members add --force)\n",
    )
    assert node.ctl_json("members")["learners"] == []
    added = node.ctl("members", "add", "--force", "other")
    assert added.returncode == 0, added.stderr
    assert re.search(r"other +learner", added.stdout)
    assert node.ctl_json("members")["learners"] == ["other"]
    entry = node.ctl_json("log")["entries"][-1]
    assert entry["note"] == "members: flow, learners other"
    for words, why in (
        (("promote", "nobody"), r"\['nobody'\] are no learners: add them first"),
        (("remove", "nobody"), r"\['nobody'\] are no members"),
        (("remove", "flow"), "no voter would be left"),
        (("add", "--force", "other"), "nothing would change"),
    ):
        refused = node.ctl("members", *words)
        assert refused.returncode == 1, words
        assert re.search(why, refused.stderr), refused.stderr
    removed = node.ctl("members", "remove", "other")
    assert removed.returncode == 0
    assert "other" not in removed.stdout


def test_what_is_saved_another_node_begins_with(
    node: Node, config: pathlib.Path, tmp_path: pathlib.Path, offline: Offline
) -> None:
    path = tmp_path / "saved"
    saved = node.ctl("snapshot", "save", str(path))
    assert saved.returncode == 0, saved.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["saved"]
    code, out, _ = offline("show", str(path), "--json")
    told = json.loads(out)
    assert (code, told["node"], told["term"]) == (0, "flow", 1)
    there = ("--config", str(config), "--set", f"node.data_dir={config.parent}/data")
    code, _, said = offline("restore", str(path), *there)
    assert code == 1
    assert "has a state already" in said
    fresh = ("--set", f"node.data_dir={tmp_path}/data")
    code, out, said = offline("restore", str(path), "--config", str(config), *fresh)
    assert code == 0, said
    assert "start it" in out
    code, _, said = offline("restore", str(path), "--config", str(config), *fresh)
    assert code == 1
    assert "has a log already" in said
    with serving(config, *fresh, *free_ports("api")) as other:
        assert other.ctl("memory", "get", "ferry").stdout == "the ferry leaves at noon\n"
        assert other.ctl_json("state")["consensus"]["term"] == 2
        other.end()


def test_a_damaged_snapshot_is_refused_by_its_reason(
    node: Node, tmp_path: pathlib.Path, offline: Offline
) -> None:
    path = tmp_path / "saved"
    node.ctl("snapshot", "save", str(path))
    whole = path.read_bytes()
    for data, why in (
        (whole[:-1], "its checksum is another"),
        (b"FLOWSNAP2\n" + whole[10:], "version 2, made by a newer flowcore"),
        (b"", "no snapshot of flowcore"),
    ):
        path.write_bytes(data)
        code, _, said = offline("show", str(path))
        assert code == 1
        assert why in said


def test_a_node_without_a_state_says_so(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_text('[edge.api]\ntype = "api"\nbind = "127.0.0.1:7301"\n')
    with serving(path, *free_ports("api")) as one:
        for words in (["state"], ["members"], ["log"], ["snapshot", "save", str(tmp_path / "x")]):
            answer = one.ctl(*words)
            assert answer.returncode == 1
            assert "this flow keeps no hard state" in answer.stderr
        assert not (tmp_path / "x").exists()
        one.end()
