"""What axe-core finds in a page: the rules of WCAG 2.2 A and AA, and its best practices."""

from __future__ import annotations

from typing import Any

import pytest

from support.node import ROOT

SCRIPT = ROOT / ".node" / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(
    not SCRIPT.exists(), reason="there is no axe-core in .node: make node, with npm"
)
_RUN = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    const where = (one) => one.nodes.map((node) => node.target.join(" "));
    return found.violations.map((one) => [one.id, one.help, ...where(one)]);
}"""


def violations(page: Any) -> list[str]:
    """Each rule that a page breaks as it is shown now, and where; empty if none is."""
    page.evaluate(SCRIPT.read_text())  # not as a script of the page: its policy would forbid that
    found: list[list[str]] = page.evaluate(_RUN)
    return [f"{rule}: {what} at {', '.join(where[:5])}" for rule, what, *where in found]
