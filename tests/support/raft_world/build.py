"""Which engine is simulated: the one that is shipped, or a copy with something planted in it."""

from __future__ import annotations

import importlib
from typing import Any

import attrs

import support.simulation.planted as copies

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


def planted(name: str, file: str, old: str, new: str) -> Build:
    """A copy of the engine in which a text of one file is another. ValueError if it is not there once."""
    return build_of(copies.planted(PACKAGE, name, file, old, new))
