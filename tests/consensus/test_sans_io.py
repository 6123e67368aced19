"""Engines know no task, socket, clock or chance but what they are given: ruff bans them in their folders."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from support.node import ROOT

FOLDER = ROOT / "plugins" / "flow_consensus"
ENGINES = ("raft", "bft")
SHARED = [FOLDER / "effects.py", FOLDER / "foreign.py", FOLDER / "pieces.py"]
PURE = {
    "__future__", "attrs", "bisect", "collections", "enum", "hashlib", "itertools", "msgspec", "nacl",
    "random", "struct", "typing", "flowcore",
}  # fmt: skip
PARTS = {"effects", "foreign", "pieces"}
"""Of what engines share."""


@pytest.mark.parametrize(
    "line",
    [
        "import trio",
        "import time",
        "import socket",
        "from time import monotonic",
        "import random\n\nX = random.random()",
        "from random import choice",
        "import os",
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_ruff_refuses(engine: str, line: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--no-cache"]
    found = subprocess.run(
        [*command, "--stdin-filename", str(FOLDER / engine / "engine.py"), "-"],
        input=line,
        text=True,
        capture_output=True,
    )
    assert found.returncode == 1, found.stderr
    assert "TID251" in found.stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_its_modules_import_what_is_pure(engine: str) -> None:
    modules = [one for one in (FOLDER / engine).glob("*.py") if one.name != "__init__.py"]
    assert len(modules) > 10
    for path in (*modules, *SHARED):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                top, _, rest = name.partition(".")
                if top == "flow_consensus":
                    assert rest.split(".")[0] in {engine, *PARTS}, path
                    assert ".driver" not in name, path
                else:
                    assert top in PURE, path
