from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.mcp import decode_value, encode_value, param_headers


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ],
)
def test_values_are_encoded_as_the_specification_shows(value: str, header: str) -> None:
    assert encode_value(value) == header
    assert decode_value(header) == value


@given(st.text())
def test_every_text_survives_a_header(text: str) -> None:
    header = encode_value(text)
    assert header.isascii()
    assert header.isprintable() or "\t" in header
    assert decode_value(header) == text


@pytest.mark.parametrize(
    "header",
    [
        "=?base64?a?=",
        "=?base64?_w==?=",
        "=?base64?/w==?=",
        "=?base64?YR==?=",
        "\xfc",
        "a\x01",
        "a\nb",
    ],
)
def test_a_malformed_encoding_is_no_value(header: str) -> None:
    assert decode_value(header) is None


SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"on": {"type": "boolean", "x-mcp-header": "On"}}},
    },
}


def test_annotated_arguments_are_mirrored() -> None:
    by_header = {one.header: one for one in param_headers(SCHEMA)}
    arguments = {"region": " x", "count": 42, "deep": {"on": True}}
    assert {name: one.value(arguments) for name, one in by_header.items()} == {
        "Mcp-Param-Region": " x",
        "Mcp-Param-Count": "42",
        "Mcp-Param-On": "true",
    }
    assert by_header["Mcp-Param-Region"].agrees("=?base64?IHg=?=", arguments)
    assert not by_header["Mcp-Param-Region"].agrees("x", arguments)
    assert not by_header["Mcp-Param-Region"].agrees(None, arguments)
    assert by_header["Mcp-Param-Region"].agrees(None, {})
    assert not by_header["Mcp-Param-Region"].agrees("x", {"region": None})
    assert not by_header["Mcp-Param-Region"].agrees("=?base64?_?=", arguments)
    assert by_header["Mcp-Param-Count"].agrees("42.0", arguments)
    assert by_header["Mcp-Param-Count"].agrees("42", {"count": 42.0})
    assert not by_header["Mcp-Param-Count"].agrees("42.5", arguments)
    assert by_header["Mcp-Param-On"].agrees(None, {"deep": 3})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": ["string"], "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A B"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": ""}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": 3}}},
        {"type": "string", "x-mcp-header": "A"},
        {"properties": {"a": {"items": {"type": "string", "x-mcp-header": "A"}}}},
        {"anyOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]},
        {"$defs": {"d": {"type": "string", "x-mcp-header": "A"}}},
        {
            "properties": {
                "a": {"type": "string", "x-mcp-header": "A"},
                "b": {"type": "string", "x-mcp-header": "a"},
            }
        },
    ],
)
def test_an_invalid_annotation_makes_the_definition_invalid(schema: object) -> None:
    with pytest.raises(ValueError, match="x-mcp-header"):
        param_headers(schema)


def test_what_is_no_schema_mirrors_nothing() -> None:
    assert param_headers(None) == ()
    assert param_headers({"default": {"x-mcp-header": "A"}, "properties": 4}) == ()
