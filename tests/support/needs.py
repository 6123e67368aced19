"""What a test needs beyond Python: where it is missing, the test says so as a named skip."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODE_MODULES = ROOT / ".node" / "node_modules"


def need(what: str, present: bool) -> None:
    """Skip the calling test, by name, unless `present`."""
    if not present:
        pytest.skip(f"needs {what}")


def program(name: str) -> str:
    """The path of a program, or a skip."""
    path = shutil.which(name)
    need(f"the program {name!r}", path is not None)
    assert path is not None
    return path


def node() -> str:
    """The path of Node 22 as `make` installs it, or a skip."""
    path = NODE_MODULES / "node" / "bin" / "node"
    need("Node 22 in .node (make node)", path.exists())
    return str(path)


def annoy() -> None:
    """Nothing if Annoy is installed, or a skip."""
    need("the package 'annoy' (make annoy)", importlib.util.find_spec("annoy") is not None)


def postgres() -> Path:
    """The folder of PostgreSQL's programs, where pgvector is installed with them, or a skip."""
    places = {
        ROOT / ".postgres/pgserver/pginstall/bin": ROOT
        / ".postgres/pgserver/pginstall/share/postgresql",
        **{
            path / "bin": Path("/usr/share/postgresql") / path.name
            for path in sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)
        },
    }
    found = [
        programs
        for programs, shared in places.items()
        if (shared / "extension/vector.control").exists() and (programs / "initdb").exists()
    ]
    need("PostgreSQL with pgvector (make postgres)", bool(found))
    return found[0]


def minilm() -> Path:
    """The folder of the sentence model that `make models` brings, or a skip."""
    path = ROOT / ".models" / "minilm"
    need("the sentence model in .models (make models)", (path / "model.onnx").is_file())
    return path


def npm(package: str) -> Path:
    """The folder of an npm package as `make` installs it, or a skip."""
    path = NODE_MODULES / package
    need(f"the npm package {package!r} in .node (make node)", path.exists())
    return path
