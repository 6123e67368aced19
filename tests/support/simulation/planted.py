"""Copies of an engine in which one text is another: the faults that a simulation must find."""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile

_done: dict[tuple[str, str], str] = {}
_folders: list[tempfile.TemporaryDirectory[str]] = []


def planted(engine: str, name: str, file: str, old: str, new: str) -> str:
    """The package of a copy of an engine in which a text of one file is another: its modules can be imported.

    Of `engine`, a package, the modules are copied, and neither its `__init__` nor its driver. Raises
    ValueError if the text is not there once.
    """
    if (engine, name) in _done:
        return _done[engine, name]
    source = pathlib.Path(importlib.import_module(engine).__path__[0])
    text = (source / file).read_text()
    if text.count(old) != 1:
        raise ValueError(f"mutant {name!r}: {text.count(old)} times in {file}: {old!r}")
    package = f"mutant_{engine.rpartition('.')[2]}_{name.replace(' ', '_').replace('-', '_')}"
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
        (target / path.name).write_text(changed.replace(engine, package))
    sys.path.append(folder.name)
    _done[engine, name] = package
    return package
