"""Every log event of flowcore and its plugins, read out of the code: logger, level and message."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
BEGIN = "<!-- log events: made by docs/generate.py -->"
END = "<!-- end of log events -->"


class LogEvent(NamedTuple):
    """A line that may be logged."""

    logger: str
    level: str
    message: str


def log_events() -> list[LogEvent]:
    """All of them from info on, in order; `debug` is for who looks into the code."""
    found: set[LogEvent] = set()
    for top, package in ((ROOT / "flowcore", "flowcore"), (ROOT / "plugins", "")):
        for path in top.rglob("*.py"):
            parts = path.relative_to(top).with_suffix("").parts
            module = ".".join([package, *parts] if package else parts).removesuffix(".__init__")
            found.update(_events(ast.parse(path.read_text()), module))
    return sorted(one for one in found if one.level != "debug")


def _events(tree: ast.Module, module: str) -> Iterator[LogEvent]:
    name = module
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "logging.getLogger" and node.args:
            said = node.args[0]
            if isinstance(said, ast.Constant) and isinstance(said.value, str) and said.value:
                name = said.value
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if not isinstance(node.func.value, ast.Name) or node.func.value.id != "logger":
            continue
        level, arguments = node.func.attr, node.args
        if level == "log":
            level, arguments = "varies", arguments[1:]
        elif level not in LEVELS:
            continue
        message = arguments[0]
        if isinstance(message, ast.Constant) and isinstance(message.value, str):
            yield LogEvent(name, "error" if level == "exception" else level, message.value)


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return ""


def section() -> str:
    """The part of docs/observability.md that lists them."""
    lines = [BEGIN, "| logger | level | message |", "|---|---|---|"]
    for one in log_events():
        message = " ".join(one.message.split()).replace("|", "\\|")
        lines.append(f"| `{one.logger}` | {one.level} | {message} |")
    return "\n".join([*lines, END])


def renewed(page: str) -> str:
    """The page with the list as it should be."""
    before, _, rest = page.partition(BEGIN)
    return before + section() + rest.partition(END)[2]
