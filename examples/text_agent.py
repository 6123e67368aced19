"""Plain functions as tools. Those that are not async run in a thread each."""

from __future__ import annotations

import difflib
from collections import Counter

from flowcore.native import tool


@tool(read_only=True)
def count_words(text: str, most: int = 5) -> dict[str, int]:
    """The most frequent words of a text, with how often they come."""
    return dict(Counter(text.lower().split()).most_common(most))


@tool(read_only=True)
def compare(left: str, right: str) -> str:
    """What differs between two texts, line by line."""
    lines = difflib.unified_diff(
        left.splitlines(), right.splitlines(), "left", "right", lineterm=""
    )
    return "\n".join(lines) or "the texts are equal"
