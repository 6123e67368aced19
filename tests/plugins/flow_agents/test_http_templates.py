"""Whatever an argument holds, it stays one value of the request."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_agents.http.templates import parse
from flow_agents.http.tools import CompiledTool, HttpTool, compile_tool
from flowcore.config import Secret
from flowcore.errors import InvalidArguments


def made(**settings: Any) -> CompiledTool:
    return compile_tool("it", HttpTool(**settings))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text())
def test_a_path_argument_stays_within_its_segment(value: str) -> None:
    tool = made(path="/a/{x}/b")
    try:
        target = tool.target({"x": value})
    except InvalidArguments:
        assert value in ("", ".", "..") or any("\ud800" <= char <= "\udfff" for char in value)
    else:
        before, after = target[:3], target[-2:]
        assert (before, after) == ("/a/", "/b")
        segment = target[3:-2]
        assert not set(segment) & set("/?#% ") - {"%"}
        assert unquote(segment, errors="strict") == value
        assert target.isascii()
        assert target.isprintable()


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_query_argument_stays_one_parameter(value: str) -> None:
    target = made(query={"q": "{x}", "mixed": "<{x}&>", "fixed": "a&b"}).target({"x": value})
    assert parse_qsl(target.partition("?")[2], keep_blank_values=True) == [
        ("q", value),
        ("mixed", f"<{value}&>"),
        ("fixed", "a&b"),
    ]


@given(values)
def test_a_body_argument_stays_one_value(value: Any) -> None:
    tool = made(method="POST", body={"a": ["{x}", 1, {"b": "{x}"}], "{x}": "{{x}}"})
    content = tool.content({"x": value})
    assert content is not None
    assert json.loads(content[1]) == {"a": [value, 1, {"b": value}], "{x}": "{x}"}


@given(st.text())
def test_text_around_a_body_argument_stays_one_text(value: str) -> None:
    content = made(method="POST", body={"a": 'say "{x}"'}).content({"x": value})
    assert content is not None
    assert json.loads(content[1]) == {"a": f'say "{value}"'}


@given(st.dictionaries(st.sampled_from("abc"), st.text().filter(str.isprintable)))
def test_a_form_argument_stays_one_field(arguments: dict[str, str]) -> None:
    content = made(method="POST", encoding="form").content(arguments)
    assert content is not None
    kind, form = content
    assert kind == b"application/x-www-form-urlencoded"
    assert dict(parse_qsl(form.decode(), keep_blank_values=True)) == arguments


@pytest.mark.parametrize(
    ("value", "query"),
    [
        (None, ""),
        ([], ""),
        (["a", 1], "x=a&x=1"),
        (True, "x=true"),
        (1.5, "x=1.5"),
        ("", "x="),
        ({"a": "é"}, "x=%7B%22a%22%3A%20%22%C3%A9%22%7D"),
    ],
)
def test_how_a_value_becomes_parameters(value: Any, query: str) -> None:
    target = made(query={"x": "{x}"}).target({"x": value})
    assert target == (f"?{query}" if query else "")


def test_what_is_not_given_is_left_out() -> None:
    tool = made(
        method="POST",
        query={"a": "{a}", "b": "-{b}-"},
        body={"a": "{a}", "b": "-{b}-", "c": ["{a}", "-{b}-"], "d": 1},
    )
    assert tool.target({}) == ""
    content = tool.content({})
    assert content is not None
    assert json.loads(content[1]) == {"c": [], "d": 1}
    assert made(method="POST", body="{a}").content({}) is None


def test_without_a_query_of_its_own_the_other_arguments_are_it() -> None:
    assert made(path="/{a}").target({"a": "1", "b": "2"}) == "/1?b=2"
    assert made(path="/{a}", query={}).target({"a": "1", "b": "2"}) == "/1"
    assert made(path="/{a}", method="POST").target({"a": "1", "b": "2"}) == "/1"
    assert made(path="/{a}", method="DELETE").target({"a": "1", "b": "2"}) == "/1?b=2"


def test_without_a_body_of_its_own_the_other_arguments_are_it() -> None:
    tool = made(path="/{a}", method="PUT", query={"b": "{b}"})
    content = tool.content({"a": 1, "b": 2, "c": 3, "d": None})
    assert content == (b"application/json", b'{"c": 3, "d": null}')
    assert made(path="/{a}").content({"a": 1}) is None
    assert made(path="/{a}", method="DELETE", body={"x": "{a}"}).content({"a": 1}) == (
        b"application/json",
        b'{"x": 1}',
    )


@pytest.mark.parametrize("value", [".", "..", "", None])
def test_a_path_cannot_be_climbed(value: Any) -> None:
    with pytest.raises(InvalidArguments):
        made(path="/a/{x}").target({"x": value})


def test_nor_in_pieces() -> None:
    with pytest.raises(InvalidArguments, match=r"segment '\.\.'"):
        made(path="/a/{x}{y}/b").target({"x": ".", "y": "."})


def test_braces_are_written_twice() -> None:
    assert parse("{{{a}}}").fill({"a": 1}) == "{1}"
    assert parse("a{{b}}").fill({}) == "a{b}"
    for wrong in ("{", "}", "{}", "a{b", "{a}}", "{a{b}}"):
        with pytest.raises(ValueError, match="template"):
            parse(wrong)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"path": "users"}, 'begins with "/"'),
        ({"path": "/a?b=c"}, "without a query"),
        ({"path": "/a#b"}, "without a query"),
        ({"path": "/ä"}, "visible ASCII"),
        ({"path": "/{"}, "template"),
        ({"query": {"a": "{"}}, "template"),
        ({"method": "POST", "body": {"a": ["}"]}}, "template"),
        ({"body": {"a": 1}}, "GET request has no body"),
        ({"method": "POST", "body": "{a}", "encoding": "form"}, "a form is a table"),
        ({"input": {"type": "string"}}, 'type = "object"'),
        ({"input": {}}, 'type = "object"'),
        (
            {"path": "/{a}", "input": {"type": "object", "properties": {"a": {}}}},
            "path: {a} must be among the required",
        ),
        (
            {"query": {"x": "{cty}"}, "input": {"type": "object", "properties": {"city": {}}}},
            r"query: {cty} is no property of input \(known: city\)",
        ),
        (
            {"method": "POST", "body": ["{x}"], "input": {"type": "object", "properties": {}}},
            "body: {x} is no property",
        ),
        ({"headers": {"bad name": "x"}}, "name of a header"),
        ({"headers": {"Host": "x"}}, "flowcore's own"),
        ({"headers": {"x": "{"}}, "template"),
        (
            {"headers": {"x": "{lang}"}, "input": {"type": "object", "properties": {}}},
            r"headers: {lang} is no property of input \(known: none\)",
        ),
        ({"headers": {"x": "a\r\nb: c"}}, "printable ASCII"),
        ({"headers": {"Authorization": "Bearer canary"}}, "is a secret"),
        ({"headers": {"x": Secret("canary\n")}}, "printable ASCII"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        made(**settings)
    assert "canary" not in str(caught.value)


@given(values)
def test_a_header_argument_stays_one_header(value: Any) -> None:
    tool = made(method="POST", headers={"X-Lang": "in {lang}", "x-own": "{{1}}"})
    assert tool.fixed == {"x-own": "{1}"}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if value is None:
        assert tool.headers({"lang": value}) == {}
    elif text.isascii() and text.isprintable():
        assert tool.headers({"lang": value}) == {b"x-lang": f"in {text}".encode()}
    else:
        with pytest.raises(InvalidArguments, match="header 'X-Lang'"):
            tool.headers({"lang": value})


def test_what_is_in_a_header_is_not_sent_again() -> None:
    arguments = {"lang": "it", "other": 1}
    tool = made(method="POST", headers={"x": "{lang}"})
    assert tool.content(arguments) == (b"application/json", b'{"other": 1}')
    assert tool.schema == {"type": "object", "properties": {"lang": {}}}
    assert made(headers={"x": "{lang}"}).target(arguments) == "?other=1"


def test_a_schema_that_is_not_given_is_that_of_the_templates() -> None:
    tool = made(path="/{a}", method="POST", query={"x": "{b}"}, body=["{c}"])
    assert tool.schema == {
        "type": "object",
        "properties": {"a": {}, "b": {}, "c": {}},
        "required": ["a"],
    }


def test_what_may_be_repeated_is_as_http_has_it_unless_said() -> None:
    hints = {
        method: (made(method=method).read_only, made(method=method).idempotent)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    }
    assert hints == {
        "GET": (True, True),
        "POST": (False, False),
        "PUT": (False, True),
        "PATCH": (False, False),
        "DELETE": (False, True),
    }
    assert made(method="POST", read_only=True).read_only
    assert made(idempotent=False, read_only=False).definition() == (
        b'{"name": "it", "inputSchema": {"type": "object", "properties": {}},'
        b' "annotations": {"readOnlyHint": false, "idempotentHint": false}}'
    )
