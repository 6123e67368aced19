"""Which engine is simulated: the one that is shipped, or a copy with something planted in it."""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile
from types import ModuleType
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


def build_of(package: ModuleType) -> Build:
    """The names, from the package."""
    return Build(**{name: getattr(package, name) for name in attrs.fields_dict(Build)})


def shipped() -> Build:
    """The engine as it is."""
    return build_of(importlib.import_module(PACKAGE))


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
    for path in source.glob("*.py"):
        if path.name.startswith("driver"):
            continue
        changed = path.read_text()
        if path.name == file:
            changed = changed.replace(old, new)
        (target / path.name).write_text(changed.replace(PACKAGE, package))
    sys.path.insert(0, folder.name)
    try:
        _planted[name] = build_of(importlib.import_module(package))
    finally:
        sys.path.remove(folder.name)
    return _planted[name]
