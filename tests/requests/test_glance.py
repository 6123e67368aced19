"""Large arguments are checked at a glance, with the verdict that the schema's own check has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flowcore.agents import Catalog, Tool
from flowcore.errors import SchemaViolation
from flowcore.requests import schema as checking
from flowcore.requests.glance import glance_at
from flowcore.requests.schema import SchemaChecks, ToolCheck

names = st.sampled_from(["a", "b", "text", "$ref", 'q"', "type", "é"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
types = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
saying = st.sampled_from([{}, {"description": "what it is"}, {"x-mcp-header": "A"}, {"default": 1}])
members = st.one_of(
    st.booleans(),
    st.builds(lambda one, more: {"type": one, **more}, types, saying),
    st.builds(lambda some: {"type": some}, st.lists(types, min_size=1, max_size=2, unique=True)),
    st.just({"type": "string", "maxLength": 1}),
    st.just({"type": "string", "enum": ["a", "b"]}),
    st.just({"enum": [1, "a"]}),
    st.just({"$ref": "#/$defs/one"}),
    st.just({"$ref": "#/$defs/one", "type": "string"}),
    st.just({"type": "array", "items": {"type": "integer"}}),
)
schemas = st.builds(
    lambda properties, required, more: {
        "type": "object",
        "$defs": {"one": {"type": "integer"}},
        "properties": properties,
        "required": required,
        **more,
    },
    st.dictionaries(names, members, max_size=4),
    st.lists(names, max_size=2, unique=True),
    st.sampled_from(
        [
            {},
            {"additionalProperties": False},
            {"additionalProperties": True},
            {"additionalProperties": {"type": "string"}},
            {"minProperties": 2},
            {"title": "t", "description": "d"},
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            {"patternProperties": {"^a": {"type": "null"}}},
        ]
    ),
)


def check_of(schema: Any) -> ToolCheck:
    tool = Tool(name="work", definition=Raw(b"{}"), input_schema=Raw(msgspec.json.encode(schema)))
    return SchemaChecks().of("mine", Catalog(tools=(tool,)))["work"]


def fits(check: ToolCheck, arguments: bytes) -> bool:
    try:
        check.check(Raw(arguments))
    except SchemaViolation:
        return False
    return True


@given(schemas, st.dictionaries(names, values, max_size=4) | values)
def test_the_verdict_is_that_of_the_whole_check(schema: Any, value: Any) -> None:
    arguments = msgspec.json.encode(value)
    with pytest.MonkeyPatch.context() as patch:
        whole = fits(check_of(schema), arguments)
        patch.setattr(checking, "_EXPLAINED", 0)
        assert fits(check_of(schema), arguments) is whole


CLOSED = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "short": {"type": "string", "maxLength": 3}},
    "required": ["text"],
    "additionalProperties": False,
}


def test_a_text_that_may_be_any_is_not_looked_into() -> None:
    glance = glance_at(CLOSED)
    assert glance is not None
    large = b'"' + b"x" * 100_000 + b'"'
    left = glance.members(Raw(b'{"short":%b,"text":%b}' % (large, large)))
    assert left is not None
    assert {name: bytes(raw) for name, raw in left.items()} == {"short": large, "text": b'""'}


@pytest.mark.parametrize(
    "arguments",
    [
        b'{"short":"a"}',
        b'{"text":5}',
        b'{"text":["a"]}',
        b'{"text":"a","more":1}',
        b'["text"]',
        b'"text"',
    ],
)
def test_what_cannot_fit_is_seen_without_taking_it_apart(arguments: bytes) -> None:
    glance = glance_at(CLOSED)
    assert glance is not None
    assert glance.members(Raw(arguments)) is None


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": ["object", "null"]},
        {"type": "object", "minProperties": 1},
        {"type": "object", "additionalProperties": {}},
        {"type": "object", "required": ["a"]},
        {"type": "object", "properties": {'"': {}}, "required": []},
    ],
)
def test_a_schema_that_says_more_is_left_to_the_whole_check(schema: Any) -> None:
    assert glance_at(schema) is None
