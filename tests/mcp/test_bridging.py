from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from flowcore.errors import UpstreamError, UpstreamFailure
from flowcore.mcp import (
    Stamp,
    encode_input_required,
    error_for,
    handshake_result,
    input_required,
    question_for,
    result_type,
)
from flowcore.mcp.meta import SERVER_INFO

SERVER = b'{"name":"flow","version":"1"}'
STAMP = Stamp(SERVER)
KEYS = st.text() | st.sampled_from(["_meta", "resultType", "ttlMs", "cacheScope", "content"])
VALUES = st.none() | st.integers() | st.text() | st.dictionaries(KEYS, st.text() | st.integers())


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"content": []},
        {"content": [{"type": "text", "text": 'says "_meta" and \\u'}]},
        {"_meta": {"a": 1}, "content": [{"_meta": {}}]},
        {"a": "\u00e9"},
    ],
)
def test_a_handshake_result_becomes_a_whole_modern_one(result: dict[str, Any]) -> None:
    modern = json.loads(STAMP.modern(raw(result)))
    assert modern.pop("resultType") == "complete"
    meta = modern.pop("_meta")
    assert meta.pop(SERVER_INFO) == {"name": "flow", "version": "1"}
    assert meta == result.get("_meta", {})
    assert modern == {key: value for key, value in result.items() if key != "_meta"}


def test_a_cacheable_result_carries_its_lifetime_and_scope() -> None:
    modern = json.loads(STAMP.modern(b'{ "contents":[]}', ttl_ms=5, scope="public"))
    assert (modern["ttlMs"], modern["cacheScope"], modern["contents"]) == (5, "public", [])
    kept = json.loads(STAMP.modern(b'{"contents":[],"ttlMs":9,"cacheScope":"public"}', ttl_ms=5))
    assert (kept["ttlMs"], kept["cacheScope"]) == (9, "public")


@given(st.dictionaries(st.text() | st.just("content"), VALUES))
@example({"_meta": None})
def test_there_and_back_again_is_the_same(result: dict[str, Any]) -> None:
    if not isinstance(result.get("_meta", {}), dict):
        with pytest.raises(UpstreamFailure):
            STAMP.modern(raw(result))
        return
    there = STAMP.modern(raw(result), ttl_ms=1)
    plain = {k: v for k, v in result.items() if k not in ("resultType", "ttlMs", "cacheScope")}
    if SERVER_INFO in result.get("_meta", {}):
        return
    back = json.loads(handshake_result(there))
    assert back == {k: v for k, v in plain.items() if not (k == "_meta" and v == {})}


def test_what_needs_no_change_is_passed_on_byte_for_byte() -> None:
    data = b'{"content" : [ ] }'
    assert handshake_result(Raw(data)) == data


@pytest.mark.parametrize("result", [b"null", b"[]", b"3", b'"x"'])
def test_a_result_that_is_no_object_is_an_upstream_failure(result: bytes) -> None:
    with pytest.raises(UpstreamFailure):
        STAMP.modern(result)


def test_the_type_of_a_result_is_read_from_its_top_level_only() -> None:
    assert result_type(b'{"content":[]}') == "complete"
    assert result_type(b'{"structuredContent":{"resultType":"x"}}') == "complete"
    assert result_type(b'{"resultType":"input_required"}') == "input_required"
    with pytest.raises(UpstreamFailure):
        result_type(b'{"resultType":5}')


def test_resource_not_found_is_named_as_the_era_names_it() -> None:
    error = UpstreamError("gone", code=-32002, data={"uri": "x"})
    assert error_for(error, modern=False)["code"] == -32002
    assert error_for(error, modern=True) == {
        "code": -32602,
        "message": "gone",
        "data": {"uri": "x"},
    }


def test_elicitation_by_url_has_an_id_in_the_handshake_era_only() -> None:
    params = raw({"mode": "url", "url": "https://a", "message": "m"})
    asked = json.loads(bytes(question_for("elicitation/create", params, modern=False)))
    assert asked["elicitationId"]
    again = json.loads(bytes(question_for("elicitation/create", raw(asked), modern=True)))
    assert "elicitationId" not in again
    form = raw({"message": "url", "requestedSchema": {"properties": {"url": {}}}})
    assert bytes(question_for("elicitation/create", form, modern=False)) == bytes(form)


def test_a_question_back_is_encoded_and_taken_apart() -> None:
    data = encode_input_required({"k": ("roots/list", Raw(b"{}"))}, "state", SERVER)
    assert result_type(data) == "input_required"
    asked = input_required(data)
    assert asked.requestState == "state"
    assert asked.inputRequests["k"].method == "roots/list"
    with pytest.raises(UpstreamFailure):
        input_required(b'{"inputRequests":[]}')
