"""A thousand agents are as quick to look at as ten: only the rows in sight are in the page."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from support.browser import chromium, needs_chromium, until
from support.node import ROOT, started

pytestmark = needs_chromium

IN_SIGHT = 80
"""Rows that may be in the page: those in sight, and some above and below."""


def keys(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "[data-agent]", "rows => rows.map(one => one.dataset.agent)"
    )
    return found


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.long)])
def test_many_agents_are_listed_filtered_sorted_and_scrolled(
    count: int, tmp_path: pathlib.Path
) -> None:
    names = [f"a{number:04}" for number in range(count)]
    agent = f'type = "python"\ntarget = "{ROOT}/tests/support/agents.py"\npool = {{ min = 0 }}\n'
    edges = ('[edge.dashboard]\ntype = "dashboard"\nbind = "127.0.0.1:0"\n',)
    agents = [f"[agent.{name}]\n{agent}" for name in names]
    (tmp_path / "flow.toml").write_text("".join([*agents, *edges]))
    with started(tmp_path / "flow.toml") as node, chromium(tmp_path) as browser:
        url = node.wait_for("http://").split()[-1]
        node.wait_for("agent ")
        page = browser.open(f"{url}#/agents")
        page.wait_for_selector(f"text={count + 1:,} agents")  # and the node's own
        until(lambda: keys(page)[:3], lambda found: found == names[:3])
        assert len(keys(page)) <= IN_SIGHT
        table = page.locator("table.rows")
        assert table.get_attribute("aria-rowcount") == str(count + 2)
        page.get_by_role("region", name="Agents").evaluate("one => one.scrollTo(0, 1e9)")
        until(lambda: keys(page)[-1], lambda last: last == "flow")
        assert len(keys(page)) <= IN_SIGHT
        last = page.locator("[data-agent=flow]")
        assert last.get_attribute("aria-rowindex") == str(count + 2)
        page.get_by_label("Show").fill(names[-1])
        until(lambda: keys(page), lambda found: found == names[-1:])
        page.wait_for_selector(f"text=1 of {count + 1:,} agents")
        page.get_by_label("Show").fill("a000")
        page.get_by_role("button", name="Agent", exact=True).click()
        until(lambda: keys(page), lambda found: found == names[9::-1])
        assert page.get_by_role("columnheader", name="Agent").get_attribute("aria-sort") == (
            "descending"
        )
        assert not browser.wrong
