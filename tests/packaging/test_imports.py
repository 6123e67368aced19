"""Who imports whom: no circles, not even for types; plugins use what is public, the core uses no plugin."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from support.node import ROOT

PLUGINS = ROOT / "plugins"


def named(path: Path, root: Path) -> str:
    """A file as a module is named."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the core and of the plugins, with its file."""
    found = {named(path, ROOT): path for path in (ROOT / "flowcore").rglob("*.py")}
    folders = (one for one in PLUGINS.iterdir() if one.name.startswith("flow_"))
    return found | {
        named(path, PLUGINS): path for folder in folders for path in folder.rglob("*.py")
    }


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of everything a file imports anywhere, for types only too; name is "" for a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from ((node.module or "", one.name) for one in node.names)


def test_no_module_imports_itself_over_others() -> None:
    """Counted is what is imported within functions and for types, too: a type lives below who uses it.

    The public face, whose `__getattr__` brings everything, is above all.
    """
    known = modules()
    graph = {}
    for name, path in known.items():
        wanted = {
            f"{module}.{one}" if f"{module}.{one}" in known else module
            for module, one in imports(path)
        }
        graph[name] = wanted & known.keys() - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' <- '.join(error.args[1])}") from None


def test_the_core_imports_no_plugin() -> None:
    for name, path in modules().items():
        if name.partition(".")[0] == "flowcore":
            found = {module for module, _ in imports(path) if module.startswith("flow_")}
            assert not found, f"{name} imports {found}"


def test_plugins_import_what_is_public() -> None:
    """The rooms themselves, the modules beside them, and the tables of names that a room gives as a whole."""
    known = modules()
    parts = {"flowcore.config.validators", "flowcore.mcp.headers", "flowcore.mcp.meta"}
    public = {one for one in known if one.count(".") == 1} | {"flowcore"} | parts
    for name, path in known.items():
        if name.partition(".")[0] != "flowcore":
            for module, one in imports(path):
                if module.partition(".")[0] == "flowcore":
                    whole = f"{module}.{one}" if f"{module}.{one}" in known else module
                    assert whole in public, f"{name} imports {whole}"
