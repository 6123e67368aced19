"""Tables and colours for a terminal. NO_COLOR is honoured, and so is an output that is no terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

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


def colour(text: str, name: str | None) -> str:
    """The text in a colour, where the terminal can show it and nobody asked for none."""
    if name is None or os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\033[{COLOURS[name]}m{text}\033[0m"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, state: int | None = None) -> str:
    """Columns of text under their heads; the column numbered `state` is coloured by what it says."""
    widths = [len(title) for title in head]
    for row in rows:
        widths = [max(width, len(cell)) for width, cell in zip(widths, row, strict=True)]
    lines = [
        colour("  ".join(t.ljust(w) for t, w in zip(head, widths, strict=True)).rstrip(), "bold")
    ]
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padded = cell.ljust(width) if index < len(row) - 1 else cell
            cells.append(
                padded
                if index != state
                else colour(cell, STATE_COLOURS.get(cell)) + padded[len(cell) :]
            )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    """A duration for a person: 1.2 ms, 3.4 s, 5 min."""
    if value is None:
        return "-"
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
