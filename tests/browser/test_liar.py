"""A node of four lies: what the others' dashboards show of it, in a real browser."""

from __future__ import annotations

import pathlib

import pytest

from support.bft.processes import evidence, lying_nodes
from support.browser import chromium, needs_chromium, nothing_wrong_in

NAMES = ("alpha", "beta", "gamma", "delta")
BOARD = """
[edge.board]
type = "dashboard"
bind = "127.0.0.1:0"
every = "200ms"
"""


@needs_chromium
@pytest.mark.long
def test_who_was_found_to_lie_is_shown_with_the_evidence(tmp_path: pathlib.Path) -> None:
    with lying_nodes(tmp_path, NAMES, "alpha", BOARD) as made, chromium(tmp_path) as browser:

        def found() -> bool:
            made.ask("beta", "/call", {"tool": "memory.put", "arguments": {"text": "a boat"}})
            return "alpha" in evidence(made, "beta")

        made.until(found, 120.0)
        url = made.ask("beta", "/status")[1]["endpoints"]["board"][0]
        with nothing_wrong_in(browser):
            page = browser.open(f"{url}#/consensus")
            page.wait_for_selector("dd:has-text('alpha lies: it has signed two ')")
            page.wait_for_selector("[data-log=alpha] td:has-text('lies')")
            page.wait_for_selector("p:has-text('leads view')")
            page.goto(f"{url}#/audit")
            page.wait_for_selector("td:has-text('consensus.evidence')")
            page.wait_for_selector("td:has-text('alpha has signed two')")
