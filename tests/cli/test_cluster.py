"""`flowctl certs cluster`, and three nodes on one machine: `make cluster`."""

from __future__ import annotations

import pathlib
import stat
import subprocess
import sys

import pytest
import tomli

from flowcore.cli import flowctl
from support.node import ROOT

NAMES = ("alpha", "beta", "gamma")


def certs(folder: pathlib.Path, *words: str) -> int:
    return flowctl.run(["certs", "cluster", *words, "--dir", str(folder)])


def test_one_command_makes_all_that_three_nodes_need(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certs"
    assert certs(folder, *NAMES) == 0
    said = capsys.readouterr().out
    for name in NAMES:
        assert f"spiffe://flow/node/{name}" in said
        assert stat.S_IMODE((folder / f"{name}.key").stat().st_mode) == 0o600
    assert "ca.key is for none of them" in said
    assert flowctl.run(["certs", "show", "--dir", str(folder)]) == 0


def test_a_fourth_node_gets_its_certificate_of_the_same_ca(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "certs"
    assert certs(folder, *NAMES) == 0
    authority = (folder / "ca.pem").read_bytes()
    assert certs(folder, "delta") == 0
    assert (folder / "ca.pem").read_bytes() == authority
    assert (folder / "delta.key").exists()


def test_nothing_is_written_over_unasked(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "certs"
    assert certs(folder, *NAMES) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert certs(folder, "delta", "alpha") == 1
    assert "would be written over" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert certs(folder, "alpha", "--force") == 0


@pytest.mark.parametrize("name", ["", "Alpha", "a/b", "..", "a" * 64])
def test_a_name_that_is_none_of_a_node_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    assert certs(tmp_path / "certs", name) != 0
    assert not (tmp_path / "certs" / "ca.pem").exists()


def test_three_nodes_are_one_and_one_of_them_may_die() -> None:
    """What `make cluster` starts, with the show that it gives."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "cluster" / "run.py"), "--show"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Asia/Tokyo" in done.stdout
    assert "beta   dead" in done.stdout
    assert '{"still":1,"served":1}' in done.stdout


def test_the_three_configurations_differ_in_what_a_node_is_alone() -> None:
    read = [
        tomli.loads((ROOT / "configs" / "cluster" / f"{name}.toml").read_text()) for name in NAMES
    ]
    for one in read:
        assert one["swarm"]["seeds"] == read[0]["swarm"]["seeds"]
        assert one["swarm"]["bind"] in one["swarm"]["seeds"]
        assert one["agent"]["text"] == read[0]["agent"]["text"]
