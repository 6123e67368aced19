"""Which engine is simulated: the one that is shipped, or a copy with something planted in it."""

from __future__ import annotations

import importlib
from typing import Any

import attrs

import support.simulation.planted as copies

PACKAGE = "flow_consensus.bft"


@attrs.frozen
class Build:
    """The modules of one copy of the engine."""

    engine: Any
    core: Any
    settings: Any
    restored: Any
    epochs: Any
    entries: Any
    blocks: Any
    checkpoints: Any
    messages: Any
    signing: Any
    form: bool = True
    """Whether what it signs is to be of the documented form; else its own form counts, so that a fault in it
    is found by what comes of it."""


def build_of(package: str, *, form: bool = True) -> Build:
    """The modules of a package."""
    names = [one.name for one in attrs.fields(Build) if one.name != "form"]
    modules = {name: importlib.import_module(f"{package}.{name}") for name in names}
    return Build(**modules, form=form)


def shipped() -> Build:
    """The engine as it is."""
    return build_of(PACKAGE)


def planted(name: str, file: str, old: str, new: str, *, form: bool = False) -> Build:
    """A copy of the engine in which a text of one file is another. ValueError if it is not there once."""
    return build_of(copies.planted(PACKAGE, name, file, old, new), form=form)
