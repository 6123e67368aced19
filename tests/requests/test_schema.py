"""Arguments against schemas, and schemas that somebody else wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from flowcore.agents import Catalog, Tool
from flowcore.errors import InvalidArguments
from flowcore.requests.expansion import expansion
from flowcore.requests.schema import (
    MAX_CONTAINERS,
    MAX_EXPANSION,
    MAX_SCHEMA,
    SchemaChecks,
    ToolCheck,
)


def check_of(schema: Any, checks: SchemaChecks | None = None) -> ToolCheck:
    raw = schema if isinstance(schema, Raw) else Raw(msgspec.json.encode(schema))
    tool = Tool(name="work", definition=Raw(b"{}"), input_schema=raw)
    return (checks or SchemaChecks()).of("mine", Catalog(tools=(tool,)))["work"]


def refused(schema: Any, arguments: bytes | None) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        check_of(schema).check(None if arguments is None else Raw(arguments))
    return caught.value


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "pets": {"type": "array", "items": {"type": "object", "required": ["kind"]}},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def test_what_fits_passes() -> None:
    check_of(PERSON).check(Raw(b'{"name":"x","pets":[{"kind":"cat"}]}'))
    check_of({"type": "object"}).check(None)


def test_large_arguments_are_refused_without_a_look_for_the_place() -> None:
    many = b'{"name":"x","pets":[' + b"[]," * MAX_CONTAINERS + b"1]}"
    expected = f"arguments of 'work': expected at most {MAX_CONTAINERS} arrays and objects in them"
    assert refused(PERSON, many).message == expected
    text = b'{"name":"%b"}' % (b'[{\\"' * MAX_CONTAINERS)
    check_of(PERSON).check(Raw(text))  # brackets in a text are no arrays
    error = refused(PERSON, b'{"nom":"%b"}' % (b"x" * 100_000))
    assert error.message == "arguments of 'work': they do not fit its schema"


def test_what_does_not_fit_is_refused_with_its_place() -> None:
    error = refused(PERSON, b'{"name":"x","pets":[{"kind":1},{}]}')
    assert error.message == "arguments.pets[1] of 'work': \"kind\" is a required property"
    assert error.data == {"path": ["pets", "1"], "tool": "work"}
    assert not error.began
    assert refused(PERSON, None).message.startswith("arguments of 'work': ")
    assert refused(PERSON, b"null").message.startswith("arguments of 'work': null is not of type")
    assert refused(PERSON, b"[]").data == {"path": [], "tool": "work"}


def test_messages_are_bounded() -> None:
    error = refused({"type": "object"}, b'"' + b"x" * 100_000 + b'"')
    assert len(error.message) < 400
    key = "k" * 5000
    error = refused(
        {"type": "object", "additionalProperties": {"type": "integer"}},
        msgspec.json.encode({key: "x"}),
    )
    assert len(error.message) < 700
    assert len(error.data["path"][0]) == 301


@pytest.mark.parametrize("arguments", [b"{", b'{"a":"\xff"}', b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_what_is_no_json_is_refused(arguments: bytes) -> None:
    assert refused({"type": "object"}, arguments).message.startswith("arguments of 'work': ")


def test_a_tool_without_a_schema_takes_anything() -> None:
    tool = Tool(name="work", definition=Raw(b"{}"))
    ToolCheck(tool, "mine", SchemaChecks()).check(Raw(b"[1,2]"))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "http://example.com/schema"}, "nothing outside it is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing outside it is fetched"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "No base URI"),
        ({"$schema": "https://example.com/mine"}, "Unknown meta-schema"),
        ({"type": "nonsense"}, "nonsense"),
        ({"pattern": "(?=look)"}, "regex"),
        (3, "is not of types"),
        (Raw(b"{"), "truncated"),
        (Raw(b'{"items":' * 5000 + b"{}" + b"}" * 5000), "recursion"),
        ({"description": "x" * MAX_SCHEMA}, f"more than {MAX_SCHEMA} bytes"),
    ],
)
def test_a_schema_that_cannot_be_used_is_named_once_and_not_enforced(
    schema: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    checks = SchemaChecks()
    for _ in range(2):
        check_of(schema, checks).check(Raw(b'{"anything":1}'))
    (record,) = caplog.records
    assert "the input schema of mine.work is not enforced" in record.getMessage()
    assert why in checks.unusable["mine.work"]


def test_one_schema_is_compiled_once() -> None:
    checks = SchemaChecks()
    text = msgspec.json.encode(PERSON)
    first = checks.validator("a", text)
    assert checks.validator("b", bytes(bytearray(text))) is first


def test_validators_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowcore.requests.schema.MAX_KNOWN", 2)
    checks = SchemaChecks()
    first = checks.validator("a", b'{"minimum":1}')
    for number in range(4):
        checks.validator("a", b'{"minimum":%d}' % (number + 2))
    assert checks.validator("a", b'{"minimum":1}') is not first


def test_a_pattern_cannot_run_for_ever() -> None:
    arguments = msgspec.json.encode({"a": "a" * 200_000 + "!"})
    refused({"properties": {"a": {"pattern": "^(a+)+$"}}}, arguments)


def doubling(levels: int) -> dict[str, Any]:
    """A schema whose last definition applies 2**levels times to one value."""
    definitions: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "object"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def test_a_schema_that_explodes_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    assert expansion(doubling(3)) == 30
    assert expansion(doubling(60)) > 2**60
    check_of(doubling(60)).check(Raw(b"{}"))
    assert f"more than {MAX_EXPANSION} schemas" in caplog.text


@pytest.mark.parametrize(
    ("schema", "count"),
    [
        (True, 0),
        ({}, 1),
        (PERSON, 1),
        ({"$ref": "#"}, 2),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, 3),
        ({"$dynamicRef": "#x"}, 2),
        ({"$ref": "#/allOf/0", "allOf": [{"not": {}}]}, 5),
        ({"$ref": "#/a~1b", "a/b": {"if": {}, "then": {}, "else": {}}}, 5),
        ({"$ref": "#/x/9", "x": []}, 2),
        ({"$ref": 7, "allOf": 7, "properties": 7, "dependencies": {"a": ["b"]}}, 2),
        ({"items": {"anyOf": [{}, {}, {}]}}, 4),
        ({"prefixItems": [{"oneOf": [{}, {}]}], "properties": {"a": {"not": {}}}}, 3),
        ({"$ref": "#/$defs/a/b/c", "$defs": {"a": 1}}, 2),
    ],
)
def test_what_applies_to_one_value_is_counted(schema: Any, count: int) -> None:
    assert expansion(schema) == count
