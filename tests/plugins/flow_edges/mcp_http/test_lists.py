"""Lists as bytes: names, pages, what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from msgspec import Raw

from flow_edges.mcp.lists import Lists
from flowcore.agents import Catalog, Directory, Prompt, Resource, State, Tool
from flowcore.errors import InvalidArguments
from flowcore.mcp.meta import MISSING
from support.members import Fixed


def tools(*names: str) -> tuple[Tool, ...]:
    return tuple(
        Tool(name=name, definition=Raw(b'{ "x-unknown": [1 ,2], "name": "%b" }' % name.encode()))
        for name in names
    )


def make_lists(directory: Directory, page_size: int = 100) -> Lists:
    return Lists(directory, server=b'{"name":"f"}', page_size=page_size, ttl_ms=5000)


def test_a_list_has_public_names_and_every_other_byte_as_it_was() -> None:
    directory = Directory()
    directory.join(Fixed("a", Catalog(tools=tools("one", "two"))))
    lists = make_lists(directory)
    result = lists.result("tools/list", None, modern=False)
    assert b'{ "x-unknown": [1 ,2], "name": "a.one" }' in result
    assert lists.result("tools/list", None, modern=False) is result
    directory.changed()
    assert lists.result("tools/list", None, modern=False) == result


def test_a_name_that_clients_may_refuse_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    directory = Directory()
    directory.join(Fixed("a", Catalog(tools=tools("fine", "with space", "x" * 127))))
    lists = make_lists(directory)
    for _ in range(2):
        directory.changed()
        assert len(json.loads(lists.result("tools/list", None, modern=True))["tools"]) == 3
    assert [record.args for record in caplog.records] == [
        ("a.with space", "a"),
        ("a." + "x" * 127, "a"),
    ]


def test_a_list_that_lacks_an_agent_says_so_and_is_fresh_for_less_long() -> None:
    directory = Directory()
    down = Fixed("down", Catalog(tools=tools("x")))
    directory.join(Fixed("up", Catalog(tools=tools("y"))))
    directory.join(down)
    lists = make_lists(directory)
    assert not lists.changed("tools/list")
    down.state = State.FAILED
    directory.changed()
    assert lists.changed("tools/list")
    assert not lists.changed("prompts/list")
    modern = json.loads(lists.result("tools/list", None, modern=True))
    assert [tool["name"] for tool in modern["tools"]] == ["up.y"]
    assert modern["_meta"][MISSING] == ["down"]
    assert modern["ttlMs"] == 1000
    assert json.loads(lists.result("tools/list", None, modern=False))["_meta"] == {
        MISSING: ["down"]
    }


@pytest.mark.parametrize("modern", [False, True])
def test_pages_follow_one_another_also_when_the_list_changes_between(modern: bool) -> None:
    directory = Directory()
    first = Fixed("a", Catalog(tools=tools(*(f"t{number}" for number in range(5)))))
    directory.join(first)
    directory.join(Fixed("b", Catalog(tools=tools("last"))))
    lists = make_lists(directory, page_size=2)

    def pages(change: Callable[[], None] | None = None) -> list[str]:
        cursor, found = None, []
        while True:
            page = json.loads(lists.result("tools/list", cursor, modern=modern))
            found += [tool["name"] for tool in page["tools"]]
            cursor = page.get("nextCursor")
            if cursor is None:
                return found
            if change is not None:
                change()

    assert pages() == ["a.t0", "a.t1", "a.t2", "a.t3", "a.t4", "b.last"]

    def drop_first() -> None:
        first.catalog = Catalog(tools=tools("t1", "t2", "t3", "t4"))
        directory.changed()

    assert pages(drop_first) == ["a.t0", "a.t1", "a.t2", "a.t3", "a.t4", "b.last"]


def test_a_cursor_of_another_list_or_of_what_is_gone_is_refused() -> None:
    directory = Directory()
    directory.join(Fixed("a", Catalog(tools=tools("1", "2", "3"))))
    lists = make_lists(directory, page_size=2)
    cursor = json.loads(lists.result("tools/list", None, modern=False))["nextCursor"]
    with pytest.raises(InvalidArguments):
        lists.result("prompts/list", cursor, modern=False)
    directory.leave("a")
    for wrong in (cursor, "", "%%%", "dG9vbHMvbGlzdA=="):
        with pytest.raises(InvalidArguments):
            lists.result("tools/list", wrong, modern=False)


def test_prompts_are_renamed_and_resources_are_not() -> None:
    catalog = Catalog(
        prompts=(Prompt(name="p", definition=Raw(b'{"name":"p"}')),),
        resources=(Resource(uri="r:1", definition=Raw(b'{"uri":"r:1","name":"n"}')),),
    )
    directory = Directory()
    directory.join(Fixed("a", catalog))
    lists = make_lists(directory)
    assert b'"name":"a.p"' in lists.result("prompts/list", None, modern=False)
    assert b'{"uri":"r:1","name":"n"}' in lists.result("resources/list", None, modern=False)


def test_a_definition_that_is_nonsense_is_left_out_and_the_others_are_listed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = Directory()
    broken = Tool(name="x", definition=Raw(b"[]"))
    directory.join(Fixed("a", Catalog(tools=(broken, *tools("y")))))
    listed = json.loads(make_lists(directory).result("tools/list", None, modern=False))
    assert [tool["name"] for tool in listed["tools"]] == ["a.y"]
    assert "a.x of agent a is not listed" in caplog.text
