"""What people ask for, and which of 186 real tools does it: three tasks a tool, in words of their own.

The tasks are in `data/mcp_tasks.json`, the tools in `../shared/data/mcp-tools.json`, beside the checkout. A
task says what somebody wants, without the tool's name; where other tools do it as well, they count as right,
too. They say it in full: of what kind the thing is, and where it lies. `data/mcp_tasks_terse.json` has them
as they were first written, as one says it to somebody who knows what one is at: a third of them leave that
to be guessed ("Which PRs are open?", "Hit Enter").
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import attrs

_ROOT = pathlib.Path(__file__).parents[1]
TOOLS = _ROOT.parent / "shared" / "data" / "mcp-tools.json"
_DATA = pathlib.Path(__file__).parent / "data"


@attrs.frozen(kw_only=True)
class Task:
    """A request in words."""

    text: str
    right: frozenset[str]
    """The tools that do it, as `server/name`; the one it was written for is among them."""


def tools() -> dict[str, dict[str, Any]]:
    """The tools' definitions as their servers listed them, by `server/name`.

    Raises FileNotFoundError, saying where they should be.
    """
    if not TOOLS.is_file():
        raise FileNotFoundError(f"{TOOLS} is missing: the data of routing benchmarks lies there")
    return {f"{one['server']}/{one['name']}": one for one in json.loads(TOOLS.read_text())}


def tasks(*, terse: bool = False) -> list[Task]:
    """All 558 of them, said in full or as they were first written."""
    made = []
    file = _DATA / ("mcp_tasks_terse.json" if terse else "mcp_tasks.json")
    for entry in json.loads(file.read_text()):
        own = f"{entry['server']}/{entry['name']}"
        right = frozenset((own, *entry.get("also", ())))
        made += [Task(text=text, right=right) for text in entry["tasks"]]
    return made
