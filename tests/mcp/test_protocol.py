"""Eras, methods, capabilities, `_meta`."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from flowcore.errors import InvalidArguments
from flowcore.mcp import (
    METHODS,
    Era,
    MissingCapability,
    UnsupportedVersion,
    client_capabilities,
    era_of,
    forwardable,
    has_extension,
    implementation,
    lacking,
    modern_status,
    negotiate,
    parse_capabilities,
    passed_on,
    server_capabilities,
    split_meta,
    text_member,
)
from flowcore.mcp import meta as keys


def test_every_version_has_its_era() -> None:
    assert era_of("2026-07-28") is Era.MODERN
    assert era_of("2025-03-26") is Era.HANDSHAKE
    assert era_of("1900-01-01") is None


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-03-26", "2025-03-26"),
        ("2026-07-28", "2025-11-25"),
        ("x", "2025-11-25"),
    ],
)
def test_a_handshake_answers_with_a_version_that_has_one(asked: str, answered: str) -> None:
    assert negotiate(asked) == answered


def test_the_methods_know_their_eras() -> None:
    assert not METHODS["ping"].modern
    assert not METHODS["server/discover"].handshake
    assert METHODS["resources/read"].subject == "uri"
    assert [name for name, one in METHODS.items() if one.asks] == [
        "tools/call",
        "resources/read",
        "prompts/get",
    ]


def test_errors_have_the_statuses_of_the_specification() -> None:
    assert modern_status(-32601) == 404
    assert modern_status(-32602) == 400
    assert modern_status(-31051) == 200
    error = UnsupportedVersion("1900-01-01", ["2026-07-28"])
    assert error.wire()["data"] == {"supported": ["2026-07-28"], "requested": "1900-01-01"}
    assert MissingCapability({"sampling": {}}).wire() == {
        "code": -32021,
        "message": "missing required client capability: sampling",
        "data": {"requiredCapabilities": {"sampling": {}}},
    }


def test_meta_is_taken_out_of_params() -> None:
    params = {"name": Raw(b'"x"'), "_meta": Raw(b'{"progressToken":1,"traceparent":"00"}')}
    meta = split_meta(params)
    assert list(params) == ["name"]
    assert list(forwardable(meta)) == ["traceparent"]
    assert split_meta({}) == {}
    with pytest.raises(InvalidArguments):
        split_meta({"_meta": Raw(b"[]")})


def test_what_goes_on_to_the_next_hop_may_have_a_trace_context_beside_it() -> None:
    hop, own, beside = (
        {keys.PROTOCOL_VERSION: Raw(b'"x"')},
        {"own": Raw(b"[1]")},
        b'"traceparent":"00"',
    )
    assert passed_on({}) == passed_on(hop) == b""
    assert passed_on({}, beside) == passed_on(hop, beside) == beside
    assert passed_on({**hop, **own}) == b'"own":[1]'
    assert passed_on({**hop, **own}, beside) == b'"own":[1],' + beside


def test_a_member_that_must_be_text_is_text() -> None:
    assert text_member({"a": Raw(b'"x"')}, "a") == "x"
    assert text_member({}, "a") is None
    with pytest.raises(InvalidArguments):
        text_member({"a": Raw(b"1")}, "a")
    assert keys.PROTOCOL_VERSION in keys.HOP


FORM = json.dumps({"message": "m", "requestedSchema": {}}).encode()
URL = json.dumps({"mode": "url", "url": "https://a", "message": "m"}).encode()
TOOLS = json.dumps({"messages": [], "tools": [], "maxTokens": 1}).encode()


@pytest.mark.parametrize(
    ("declared", "method", "params", "expected"),
    [
        ({"elicitation": {}}, "elicitation/create", FORM, {}),
        ({"elicitation": {"form": {}}}, "elicitation/create", FORM, {}),
        ({"elicitation": {"url": {}}}, "elicitation/create", FORM, {"elicitation": {"form": {}}}),
        ({"elicitation": {}}, "elicitation/create", URL, {"elicitation": {"url": {}}}),
        ({"elicitation": {"url": {}}}, "elicitation/create", URL, {}),
        ({}, "elicitation/create", URL, {"elicitation": {"url": {}}}),
        ({}, "elicitation/create", FORM, {"elicitation": {}}),
        ({}, "sampling/createMessage", b"{}", {"sampling": {}}),
        ({"sampling": {}}, "sampling/createMessage", TOOLS, {"sampling": {"tools": {}}}),
        ({"sampling": {"tools": {}}}, "sampling/createMessage", TOOLS, {}),
        ({"roots": {}}, "roots/list", b"{}", {}),
        ({"roots": {}}, "other/thing", b"{}", {"other/thing": {}}),
    ],
)
def test_what_a_client_lacks_to_be_asked(
    declared: dict[str, object], method: str, params: bytes, expected: dict[str, object]
) -> None:
    capabilities = parse_capabilities(json.dumps(declared).encode())
    assert lacking(capabilities, method, params) == expected


def test_capabilities_documents() -> None:
    assert server_capabilities(modern=False, tasks=True) == {
        "tools": {"listChanged": True},
        "resources": {"listChanged": True},
        "prompts": {"listChanged": True},
    }
    document = server_capabilities(
        modern=True, completions=True, logging=True, subscribe=True, tasks=True
    )
    assert document["extensions"] == {keys.TASKS: {}}
    assert document["resources"]["subscribe"] is True
    assert "completions" in document
    assert "logging" in document
    asked = parse_capabilities(json.dumps(client_capabilities(tasks=True)).encode())
    assert has_extension(asked)
    assert not has_extension({})
    assert not has_extension({"extensions": Raw(b"3")})
    with pytest.raises(InvalidArguments):
        parse_capabilities(b"[]")
    assert parse_capabilities(None) == {}


def test_we_say_who_we_are() -> None:
    assert json.loads(implementation("flowcore", title="Flow"))["name"] == "flowcore"
