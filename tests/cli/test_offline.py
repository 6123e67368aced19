"""What flowctl does without a node, as a command."""

from __future__ import annotations

import hashlib
import json
import pathlib

import pytest

from flowcore.audit import Chain
from flowcore.cli.flowctl import run

KEY = "0123456789abcdef0123456789abcdef"


def log(path: pathlib.Path, key: str | None = None) -> pathlib.Path:
    chain = Chain(None if key is None else key.encode())
    path.write_bytes(b"".join(chain.line({"what": "call"}) for _ in range(3)))
    return path


def test_a_right_log_is_said_to_be_right(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "audit.jsonl")
    assert run(["audit", "verify", str(path)]) == 0
    assert capsys.readouterr().out == "3 lines, 1 to 3, as written (from the first line ever)\n"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    assert run(["--json", "audit", "verify", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "lines": 2,
        "first": 2,
        "last": 3,
        "whole": False,
    }


def test_the_first_broken_line_is_named(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "audit.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"seq":2', b'"seq":7'))
    assert run(["audit", "verify", str(path)]) == 1
    assert f"{path}:2: was changed" in capsys.readouterr().err


def test_a_keyed_log_needs_its_key(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "audit.jsonl", KEY)
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    assert run(["audit", "verify", str(path), "--key", str(key)]) == 0
    assert run(["audit", "verify", str(path)]) == 1
    key.write_text("x" * 32)
    assert run(["audit", "verify", str(path), "--key", str(key)]) == 1
    assert run(["audit", "verify", str(path), "--key", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_token_is_shown_once_with_the_line_that_makes_it_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["token", "ann"]) == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert f'{{ name = "ann", sha256 = "{digest}" }}' in shown.err
    assert run(["token", "ann b"]) == 2
    assert run(["--json", "token", "ann"]) == 0
    assert json.loads(capsys.readouterr().out)["token"] != token
