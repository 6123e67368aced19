"""The engine knows no task, socket, clock or chance: ruff bans them in its folder."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from support.node import ROOT

FOLDER = ROOT / "plugins" / "flow_consensus" / "bft"
ENGINE = sorted(one for one in FOLDER.glob("*.py") if one.name != "__init__.py")


@pytest.mark.parametrize("line", ["import trio", "import time", "import socket", "import os"])
def test_ruff_refuses(line: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--no-cache"]
    found = subprocess.run(
        [*command, "--stdin-filename", str(FOLDER / "engine.py"), "-"],
        input=line,
        text=True,
        capture_output=True,
        check=False,
    )
    assert found.returncode == 1, found.stderr
    assert "TID251" in found.stdout


def test_its_modules_import_what_is_pure() -> None:
    assert len(ENGINE) > 10
    for path in ENGINE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            allowed = {
                "__future__", "attrs", "collections", "enum", "hashlib", "itertools", "msgspec", "nacl",
                "struct", "typing", "flow_consensus", "flowcore",
            }  # fmt: skip
            assert {one.partition(".")[0] for one in names} <= allowed, path
            assert not any(".driver" in one for one in names), path
