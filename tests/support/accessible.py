"""What keeps somebody from using a page: names, labels, roles, headings, contrast (WCAG 2.2, A and AA).

The checks are those that a program can make by itself, on the page as the browser has built it.
"""

from __future__ import annotations

import pathlib
from typing import Any

_CHECKS = pathlib.Path(__file__).with_suffix(".js").read_text()


def problems(page: Any) -> list[str]:
    """All that is wrong with a page as it is shown now; empty if nothing is."""
    found: list[str] = page.evaluate(_CHECKS)
    return sorted(set(found))
