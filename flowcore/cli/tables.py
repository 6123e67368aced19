"""Tables and colours for a terminal. NO_COLOR is honoured, and so is an output that is no terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

COLOURS = {"green": "32", "yellow": "33", "red": "31", "grey": "90", "bold": "1"}
STATE_COLOURS = {
    "idle": "green",
    "busy": "green",
    "ok": "green",
    "starting": "yellow",
    "paused": "yellow",
    "degraded": "yellow",
    "draining": "yellow",
    "failed": "red",
    "stopped": "grey",
}
LEAST_TEXT = 24
"""Columns below which a cell is not wrapped: the terminal does that as well."""


def on_terminal() -> bool:
    """Whether a person sees what is printed (a closed output is None)."""
    return sys.stdout is not None and sys.stdout.isatty()


def colour(text: str, name: str | None) -> str:
    """The text in a colour, where the terminal can show it and nobody asked for none."""
    if name is None or os.environ.get("NO_COLOR") or not on_terminal():
        return text
    return f"\033[{COLOURS[name]}m{text}\033[0m"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    state: int | None = None,
    colours: Mapping[str, str] = STATE_COLOURS,
) -> str:
    """Columns of text under their heads; the column numbered `state` is coloured by what it says.

    On a terminal, what does not fit into the last column is wrapped within it.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    indent = sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = shutil.get_terminal_size().columns - indent if on_terminal() else 0
    lines = [colour(_line(head, widths), "bold")]
    for row in rows:
        first, *rest = _wrapped(row[-1], room)
        cells = [*map(str.ljust, row[:-1], widths), first]
        if state is not None:
            said = row[state]
            cells[state] = colour(said, colours.get(said)) + cells[state][len(said) :]
        lines.append("  ".join(cells).rstrip())
        lines.extend(" " * indent + text for text in rest)
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


def _wrapped(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, room) or [""] if room >= LEAST_TEXT else [text]


def seconds(value: float | None) -> str:
    """A duration for a person: 1.2 ms, 3.4 s, 5 min."""
    if value is None:
        return "-"
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
