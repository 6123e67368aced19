"""Which engine is simulated: the one that is shipped, or a copy with something planted in it."""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile
from typing import Any

import attrs

PACKAGE = "flow_consensus.raft"


@attrs.frozen
class Build:
    """The names of one copy of the engine."""

    Engine: Any
    EngineSettings: Any
    Restored: Any
    Refused: Any
    Change: Any
    command_of: Any
    is_membership: Any
    encode: Any
    decode: Any


WHERE = {
    "Engine": "engine",
    "EngineSettings": "settings",
    "Restored": "restored",
    "Refused": "core",
    "Change": "membership",
    "command_of": "entries",
    "is_membership": "entries",
    "encode": "messages",
    "decode": "messages",
}
"""The module of each: not the package, which has the driver, too."""


def build_of(package: str) -> Build:
    """The names, from the modules of a package."""
    modules = {name: importlib.import_module(f"{package}.{name}") for name in {*WHERE.values()}}
    return Build(**{name: getattr(modules[module], name) for name, module in WHERE.items()})


def shipped() -> Build:
    """The engine as it is."""
    return build_of(PACKAGE)


_planted: dict[str, Build] = {}
_folders: list[tempfile.TemporaryDirectory[str]] = []


def planted(name: str, file: str, old: str, new: str) -> Build:
    """A copy of the engine in which a text of one file is another. ValueError if it is not there once."""
    if name in _planted:
        return _planted[name]
    source = pathlib.Path(importlib.import_module(PACKAGE).__path__[0])
    text = (source / file).read_text()
    if text.count(old) != 1:
        raise ValueError(f"mutant {name!r}: {text.count(old)} times in {file}: {old!r}")
    package = f"mutant_{name}"
    folder = tempfile.TemporaryDirectory()
    _folders.append(folder)
    target = pathlib.Path(folder.name) / package
    target.mkdir()
    (target / "__init__.py").touch()
    for path in source.glob("*.py"):
        if path.name.startswith(("driver", "__init__")):
            continue
        changed = path.read_text()
        if path.name == file:
            changed = changed.replace(old, new)
        (target / path.name).write_text(changed.replace(PACKAGE, package))
    sys.path.insert(0, folder.name)
    try:
        _planted[name] = build_of(package)
    finally:
        sys.path.remove(folder.name)
    return _planted[name]
