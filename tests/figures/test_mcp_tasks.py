"""The tasks that routing is measured by: three for each tool, none twice, none that gives the tool away."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.mcp_tasks import TOOLS, tasks, tools
from support.needs import need

BOTH = pytest.mark.parametrize("terse", [False, True])


@BOTH
def test_there_are_three_tasks_for_each_tool_all_different(terse: bool) -> None:
    need("../shared/data/mcp-tools.json", TOOLS.is_file())
    given = tasks(terse=terse)
    assert len(given) == 3 * len(tools()) == 558
    assert len({task.text for task in given}) == 558
    for task in given:
        assert task.right <= tools().keys()
    counts = Counter(tool for task in given for tool in task.right)
    assert min(counts[tool] for tool in tools()) >= 3


@BOTH
def test_no_task_names_a_tool(terse: bool) -> None:
    need("../shared/data/mcp-tools.json", TOOLS.is_file())
    names = {name.partition("/")[2] for name in tools()}
    for task in tasks(terse=terse):
        assert not [name for name in names if ("_" in name or "-" in name) and name in task.text]


def test_where_the_tools_are_missing_it_says_where_they_should_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.mcp_tasks.TOOLS", TOOLS.with_name("nowhere.json"))
    with pytest.raises(FileNotFoundError, match="data of routing benchmarks lies there"):
        tools()
