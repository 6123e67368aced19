"""What holds for a plugin as a whole: its hook, and what it imports."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pathlib
import types
from collections.abc import Iterator

from flowcore.assembly import FactoryRegistry, Plugins, discover
from flowcore.testing.findings import Wrong

PARTS = ("flowcore.config.validators", "flowcore.mcp.headers", "flowcore.mcp.meta")
"""Modules within packages that are public as they are: tables of names."""


def found(plugin: object) -> object:
    """The plugin itself: of a name, the module; of a path, the one-file plugin."""
    if isinstance(plugin, str):
        return importlib.import_module(plugin)
    if isinstance(plugin, pathlib.Path):
        from flowcore.assembly.discovery import load_file

        return load_file(plugin)
    return plugin


def registered(
    plugin: object, name: str
) -> tuple[FactoryRegistry, tuple[tuple[str, str], ...], bool]:
    """Everything there is with the plugin, the (kind, type) of what is the plugin's, and whether it is
    installed. Raises Wrong for a plugin that cannot be loaded."""
    there = discover()
    mine = _own(there, plugin)
    if mine:
        return there.registry, mine, True
    there = discover(given=[plugin])
    for broken in there.registry.broken:
        if broken.plugin == there.found[-1].name:
            raise Wrong(str(broken.error) or type(broken.error).__name__) from broken.error
    taken = there.found[-1].name
    mine = tuple(
        (one.factory.kind, one.factory.type) for one in there.registry.all() if one.plugin == taken
    )
    if not mine:
        raise Wrong(f"flow_register of {name!r} registers nothing")
    return there.registry, mine, False


def _own(there: Plugins, plugin: object) -> tuple[tuple[str, str], ...]:
    """What of the installed plugins is this one's: what its own module makes."""
    if not isinstance(plugin, types.ModuleType):
        return ()
    home = plugin.__name__
    return tuple(
        (one.factory.kind, one.factory.type)
        for one in there.registry.all()
        if _within(one.factory.open.__module__, home)
    )


def _within(module: str, home: str) -> bool:
    return module == home or module.startswith(f"{home}.")


def imports_what_is_public(plugin: object) -> None:
    """it imports only flowcore's public names: those of `flowcore` and of its packages"""
    for path in _files(plugin):
        for module, name in _imports(path):
            whole = f"{module}.{name}" if _is_module(f"{module}.{name}") else module
            if whole.count(".") > 1 and whole not in PARTS:
                public = ".".join(whole.split(".")[:2])
                raise Wrong(f"{path.name} imports {whole}; take what {public} gives")


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _files(plugin: object) -> Iterator[pathlib.Path]:
    file = getattr(plugin, "__file__", None)
    if file is None:
        return
    path = pathlib.Path(file)
    yield from sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def _imports(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            pairs = [(one.name, "") for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            pairs = [(node.module, one.name) for one in node.names]
        else:
            continue
        yield from (pair for pair in pairs if pair[0].partition(".")[0] == "flowcore")
