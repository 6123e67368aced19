"""The dashboard's family opens a browser before a node of its own, and measures what it says."""

from __future__ import annotations

import pytest

from benchmarks import dashboard
from support.browser import needs_chromium


@needs_chromium
@pytest.mark.long
def test_the_family_measures_few_and_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "MANY", 40)
    monkeypatch.setattr(dashboard, "ROUNDS", 1)
    monkeypatch.setattr(dashboard, "WATCHED", 0.2)
    figures = {one.name: one for one in dashboard.run()}
    assert len(figures) == 9
    assert figures["40 agents: opened to drawn"].value
    assert figures["40 agents: an event of all, to its frame"].bar
    assert figures["10 agents: an event of all, to its frame"].bar is None
