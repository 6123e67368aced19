from __future__ import annotations

import json
import math
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.errors import CallError, InvalidArguments, InvalidRequest
from flowcore.mcp import (
    MAX_DEPTH,
    Notification,
    ParseError,
    Request,
    Response,
    decode,
    decode_batch,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    extent,
    failed_id,
    is_batch,
    one_line,
    too_deep,
)
from flowcore.mcp.extent import check_extent, containers

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def test_a_request_is_taken_apart_and_its_params_stay_bytes() -> None:
    message = decode(b'{"jsonrpc":"2.0","id":"a","method":"m","params":{"x": {"y" :1},"_meta":{}}}')
    assert isinstance(message, Request)
    assert (message.id, message.method) == ("a", "m")
    assert bytes(message.params["x"]) == b'{"y" :1}'


def test_a_notification_has_no_id_and_a_response_no_method() -> None:
    assert isinstance(decode(b'{"jsonrpc":"2.0","method":"m"}'), Notification)
    answer = decode(b'{"jsonrpc":"2.0","id":7,"result":{"a":[1]}}')
    assert isinstance(answer, Response)
    assert answer.result is not None
    assert bytes(answer.result) == b'{"a":[1]}'
    failure = decode(b'{"jsonrpc":"2.0","error":{"code":-1,"message":"no","data":[0]}}')
    assert isinstance(failure, Response)
    assert failure.id is None
    assert failure.error is not None
    assert (failure.error.code, failure.error.message) == (-1, "no")


@pytest.mark.parametrize(
    ("data", "error", "ident"),
    [
        (b"", ParseError, None),
        (b"nul", ParseError, None),
        (b'{"jsonrpc":"2.0","id":1,', ParseError, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":01}}', ParseError, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"\xff"}}', ParseError, 1),
        (b"\xef\xbb\xbf{}", ParseError, None),
        (b"[]", InvalidRequest, None),
        (b"3", InvalidRequest, None),
        (b'"text"', InvalidRequest, None),
        (b"{}", InvalidRequest, None),
        (b'{"id":5,"method":"m"}', InvalidRequest, 5),
        (b'{"jsonrpc":"1.0","id":5,"method":"m"}', InvalidRequest, 5),
        (b'{"jsonrpc":"2.0","id":null,"method":"m"}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"m"}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":%b,"method":"m"}' % (b"1" * 100_000), InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":9}', InvalidRequest, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":4}', InvalidRequest, 9),
        (b'{"jsonrpc":"2.0","id":9,"method":"m","result":{}}', InvalidRequest, 9),
        (
            b'{"jsonrpc":"2.0","id":9,"result":{},"error":{"code":1,"message":""}}',
            InvalidRequest,
            9,
        ),
        (b'{"jsonrpc":"2.0","result":{}}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":9,"method":"m","params":[1]}', InvalidArguments, 9),
        (b'{"jsonrpc":"2.0","id":"n","method":"m","params":null}', InvalidArguments, "n"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":%b}' % (b"[" * 100_000), ParseError, None),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":%b%b}}'
            % (b"[" * 100_000, b"]" * 100_000),
            ParseError,
            None,
        ),
    ],
)
def test_what_is_no_message_is_refused_with_its_code(
    data: bytes, error: type[CallError], ident: object
) -> None:
    with pytest.raises(error) as caught:
        decode(data)
    assert type(caught.value) is error
    assert failed_id(data) == ident


def test_nesting_is_allowed_up_to_the_limit_and_not_beyond() -> None:
    def nested(levels: int) -> bytes:
        inner = b'{"a":' * levels + b"0" + b"}" * levels
        return b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":%b}}' % inner

    assert isinstance(decode(nested(MAX_DEPTH - 2)), Request)
    with pytest.raises(ParseError, match="128 levels"):
        decode(nested(MAX_DEPTH - 1))


def test_brackets_within_strings_are_no_nesting() -> None:
    text = json.dumps('[[{{\\"' * 200)
    data = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":%b}}' % text.encode()
    assert isinstance(decode(data), Request)


def depth_of(node: object) -> int:
    if isinstance(node, dict):
        return 1 + max(map(depth_of, node.values()), default=0)
    if isinstance(node, list):
        return 1 + max(map(depth_of, node), default=0)
    return 0


@given(
    JSON | st.dictionaries(st.text(alphabet='[]{}",:\\ a'), JSON),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_depth_is_measured_as_a_parser_would(
    value: object, limit: int, ascii_only: bool, indent: int | None
) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert too_deep(data, limit) == (depth_of(value) > limit)


@pytest.mark.parametrize("escaped", [b'\\"[', b"\\\\", b"\\n\\u005b"])
@pytest.mark.parametrize("levels", [128, 129, 130, 300, 100_000])
@pytest.mark.parametrize("kind", [(b"[", b"", b"]"), (b'{"a":', b"1", b"}"), (b"[0,", b"{}", b"]")])
def test_a_large_message_with_escapes_is_nested_no_deeper(
    levels: int, kind: tuple[bytes, bytes, bytes], escaped: bytes
) -> None:
    opening, inner, closing = kind
    inside = levels - 2 - (inner == b"{}")
    nested = opening * inside + inner + closing * inside
    text = b'"%b"' % (escaped * (LARGE // len(escaped)))
    data = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%b,"b":%b}}' % (text, nested)
    if levels == 128:
        assert isinstance(decode(data), Request)
    else:
        with pytest.raises(ParseError, match="nested more than 128 levels deep"):
            decode(data)


def test_a_batch_gives_each_message_or_its_error() -> None:
    data = b' [{"jsonrpc":"2.0","id":1,"method":"m"},5,{"jsonrpc":"2.0","method":"n"}]'
    assert is_batch(data)
    first, second, third = decode_batch(data, limit=3)
    assert isinstance(first, Request)
    assert isinstance(second, InvalidRequest)
    assert isinstance(third, Notification)
    with pytest.raises(ParseError, match="more than 2000 values"):
        decode_batch(b"[%b1]" % (b"1," * 2000), limit=2)
    with pytest.raises(InvalidRequest, match="at most 2"):
        decode_batch(data, limit=2)
    with pytest.raises(InvalidRequest, match="empty"):
        decode_batch(b"[]", limit=2)


@given(st.integers(-(2**63), 2**63 - 1) | st.text(), st.dictionaries(st.text(), JSON))
def test_what_is_encoded_is_decoded_again(ident: int | str, value: dict[str, object]) -> None:
    raw = msgspec.Raw(json.dumps(value).encode())
    request = decode(encode_request(ident, "m", {"x": raw}))
    assert isinstance(request, Request)
    assert (request.id, bytes(request.params["x"])) == (ident, bytes(raw))
    answer = decode(encode_result(ident, raw))
    assert isinstance(answer, Response)
    assert (answer.id, answer.result and bytes(answer.result)) == (ident, bytes(raw))
    failure = decode(encode_error(ident, {"code": -1, "message": "m", "data": value}))
    assert isinstance(failure, Response)
    assert failure.error is not None
    assert isinstance(decode(encode_notification("n", {"x": raw})), Notification)


def test_an_error_without_an_id_leaves_it_out() -> None:
    assert json.loads(encode_error(None, {"code": -1, "message": "m"})) == {
        "jsonrpc": "2.0",
        "error": {"code": -1, "message": "m"},
    }


def test_line_breaks_between_tokens_become_spaces() -> None:
    assert one_line(b'{\r\n "a": "x\\n"\n}') == b'{   "a": "x\\n" }'


LARGE = 2 << 20


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b" " * LARGE, "neither an object nor an array"),
        (b'"' + b"a" * LARGE, "neither an object nor an array"),
        (b'{"a":"' + b"a" * LARGE, "neither an object nor an array"),
        (b"9" * LARGE, "neither an object nor an array"),
        (b'{"a":' * (LARGE // 2) + b"1" + b"}" * (LARGE // 2), "nested more than"),
        (b'{"a":[%b1]}' % (b'",,,,",' * LARGE), "more than 100000 values"),
        (b'{"a":%b}' % (b'"[[[[" ' * LARGE), "more than 100000 values"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":[' + b"1," * LARGE + b"1]}", "more than"),
        (b'{"a":[' + b'"abc",' * 70_000 + b"a" * LARGE + b"]}", "not valid JSON"),
    ],
)
def test_large_nonsense_is_refused_at_a_glance(data: bytes, says: str) -> None:
    with pytest.raises(ParseError, match=says):
        decode(data, values=100_000)


def test_a_large_message_that_is_wrong_is_told_from_one_that_is_not() -> None:
    text = b'"' + b"a" * LARGE + b'"'
    with pytest.raises(InvalidArguments, match="params"):
        decode(b'{"jsonrpc":"2.0","id":1,"method":"x","params":%b}' % text)
    with pytest.raises(InvalidRequest, match=r"not valid JSON-RPC 2\.0"):
        decode(b'{"jsonrpc":"1.0","id":1,"method":%b}' % text)
    right = decode(b' {"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%b}} ' % text)
    assert isinstance(right, Request)
    assert bytes(right.params["a"]) == text


@pytest.mark.parametrize("name", ["jsonrpc", "id", "method"])
def test_what_is_short_in_a_right_message_is_not_read_where_it_is_long(name: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "x", name: "a" * LARGE}
    with pytest.raises(InvalidRequest, match=f"'{name}' has more than 65536 bytes"):
        decode(json.dumps(message).encode())
    message = {"jsonrpc": "2.0", "id": "i", "method": "m" * 60_000, "params": {"a": "a" * LARGE}}
    right = decode(json.dumps(message).encode())
    assert isinstance(right, Request)
    assert (right.id, right.method) == ("i", "m" * 60_000)


def test_members_of_large_params_have_short_names() -> None:
    params = {"n" * 65: 1, "a": "a" * LARGE}
    message = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": params}
    with pytest.raises(InvalidArguments, match=r"length <= 64.*params"):
        decode(json.dumps(message).encode())


@given(
    JSON | st.lists(st.text(alphabet='"\\\n/=.[]{},ntu\x7f')),
    st.integers(1, 9),
    st.booleans(),
)
def test_texts_are_told_from_what_is_around_them_wherever_a_piece_ends(
    value: object, piece: int, ascii_only: bool
) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    escapes = data.count(b"\\")
    with patch.object(extent, "_PIECE", piece):
        assert containers(data) == containers_of(value)
        check_extent(data, depth=1000, values=math.inf, escapes=escapes)
        if escapes:
            with pytest.raises(ParseError, match=f"more than {escapes - 1} backslashes"):
                check_extent(data, depth=1000, values=math.inf, escapes=escapes - 1)


def containers_of(node: object) -> int:
    if isinstance(node, dict):
        return 1 + sum(map(containers_of, node.values()))
    return 1 + sum(map(containers_of, node)) if isinstance(node, list) else 0


@given(st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b'""', b",", b"a"])))
def test_texts_do_not_nest(parts: list[bytes]) -> None:
    text = json.dumps(b"".join(parts * 40).decode()).encode()
    assert not too_deep(b'[{"a":%b,"b":[%b]}]' % (text, text), 3)
    assert too_deep(b'[{"a":%b,"b":[%b]}]' % (text, text), 2)


def values_of(node: object) -> int:
    """Commas, colons and opening brackets, without those in texts."""
    if isinstance(node, dict):
        return max(1, len(node)) + len(node) + sum(map(values_of, node.values()))
    if isinstance(node, list):
        return max(1, len(node)) + sum(map(values_of, node))
    return 0


@given(
    JSON | st.lists(st.text(alphabet=',"[{\\a:')),
    st.integers(10, 60),
    st.booleans(),
)
def test_values_are_counted_without_the_commas_and_brackets_in_texts(
    value: object, limit: int, ascii_only: bool
) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"x": value}}
    data = json.dumps(message, ensure_ascii=ascii_only).encode()
    if values_of(message) > limit:
        with pytest.raises(ParseError, match=f"more than {limit} values"):
            decode(data, values=limit)
    else:
        assert isinstance(decode(data, values=limit), Request)


LIMITS = {"values": 100_000, "escapes": 2_500_000}  # those of an edge


@pytest.mark.parametrize(
    "text",
    [
        '1,2,"a",[b]\n' * 100_000,
        "TWFueSBoYW5kcyBtYWtl+/" * (10 << 20 >> 5),
        json.dumps(
            [{"id": n, "name": f"n {n}", "tags": ["a", "b"]} for n in range(40_000)], indent=2
        ),
        "Съешь же ещё этих мягких булок,\n" * 70_000,
        "\n" * 2_000_000,
        "[" * (8 << 20),
    ],
    ids=["table", "base64", "pretty JSON", "Cyrillic", "line breaks", "brackets"],
)
def test_a_large_text_is_one_value(text: str) -> None:
    data = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":%b}}' % json.dumps(text).encode()
    assert len(data) > 1 << 20
    request = decode(data, **LIMITS)
    assert isinstance(request, Request)
    assert len(bytes(request.params["x"])) == len(json.dumps(text))


@pytest.mark.parametrize(("escape", "counts"), [(b"n", 1), (b"u0041", 1), (b'"', 1), (b"\\", 2)])
def test_a_message_has_only_so_many_escapes(escape: bytes, counts: int) -> None:
    message = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":"%b"}}'
    most = 2_500_000 // counts
    assert isinstance(decode(message % (b"\\%b" % escape * most), **LIMITS), Request)
    with pytest.raises(ParseError, match="more than 2500000 backslashes"):
        decode(message % (b"\\%b" % escape * (most + 1)), **LIMITS)


@pytest.mark.parametrize("escape", [b"", b'\\"'])
def test_a_name_is_no_long_text(escape: bytes) -> None:
    message = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":{"%b":"%b"}}}'
    text = (b"a" * 14 + escape) * (LARGE // 16)
    assert isinstance(decode(message % (b"n" * 65_000, text), **LIMITS), Request)
    with pytest.raises(ParseError, match="a name has more than 65536 bytes"):
        decode(message % (text, text), **LIMITS)
    assert isinstance(decode(message % (text, text)), Request)
    assert not too_deep(b'{"%b":[%b]}' % (text, b"[]," * 200 + b"0"))


def test_the_message_of_an_error_is_short_where_it_is_large() -> None:
    long = b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"%b","data":"%b"}}'
    with pytest.raises(InvalidRequest, match=r"'error\.message' has more than 65536 bytes"):
        decode(long % (b"a" * LARGE, b""))
    answer = decode(long % (b"short", b"a" * LARGE))
    assert isinstance(answer, Response)
    assert answer.error is not None
    assert (answer.error.code, answer.error.message) == (1, "short")
    assert isinstance(answer.error.data, msgspec.Raw)
    assert len(bytes(answer.error.data)) == LARGE + 2
