from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.mcp import array, renamed


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (b'{"name":"a","x":1}', b'{"name":"b.a","x":1}'),
        (
            b'{ "x":{"name":"a"} , "name" : "a" , "y":2 }',
            b'{ "x":{"name":"a"} , "name" : "b.a" , "y":2 }',
        ),
        (
            b'{"description":"\\"name\\":\\"a\\"","name":"a"}',
            b'{"description":"\\"name\\":\\"a\\"","name":"b.a"}',
        ),
        (b'{"n\\u0061me":"a","x": 1}', b'{"name":"b.a","x":1}'),
    ],
)
def test_only_the_name_changes(definition: bytes, expected: bytes) -> None:
    assert renamed(definition, "b.a") == expected


def test_the_same_name_changes_nothing() -> None:
    assert renamed(b'{"name": "a"}', "a") == b'{"name": "a"}'


@pytest.mark.parametrize("definition", [b"{}", b"[]", b"nope"])
def test_what_has_no_name_cannot_be_renamed(definition: bytes) -> None:
    with pytest.raises(ValueError, match="not a definition"):
        renamed(definition, "x")


@given(
    st.dictionaries(st.text(), st.text() | st.dictionaries(st.just("name"), st.text())),
    st.text(),
    st.text(),
)
def test_any_definition_keeps_all_but_its_name(
    members: dict[str, object], old: str, new: str
) -> None:
    members["name"] = old
    assert json.loads(renamed(json.dumps(members).encode(), new)) == {**members, "name": new}


def test_an_array_is_made_of_what_is_json_already() -> None:
    assert array([b"1", b"{}"]) == b"[1,{}]"
