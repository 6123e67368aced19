"""JSON-RPC 2.0 as MCP uses it: bytes to messages and back, payloads passed through as bytes.

`params` are split into their members and `result` is kept whole, all as `msgspec.Raw`: nothing below the
first level is parsed here, and what is sent on is what was received, byte for byte.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from flowcore.errors import InvalidArguments, InvalidRequest
from flowcore.mcp.codes import ParseError

_T = TypeVar("_T")

Id = int | str
"""A request's id. null and fractions are not allowed in MCP; integers are of 64 bits at most."""

MAX_DEPTH: Final = 128
"""How deeply arrays and objects may be nested in a message."""

LARGE: Final = 1 << 20
"""Bytes of a message from which on a wrong one is not read again to tell more about what is wrong."""

_MARGIN = 1 << 16
"""Bytes of white space around a large message from which on it is refused."""
_SPACE = b" \t\r\n"

_IN_TEXTS = 10
"""How many times as many commas and brackets there may be with those in texts: to leave these out costs as
much as there are."""

_COMMAS = 1000
"""Most commas in a batch for each message allowed: splitting one of nothing but commas costs a second."""

EMPTY: Final = Raw(b"{}")


class ErrorObject(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A JSON-RPC error as it was received."""

    code: int
    message: str
    data: Raw | UnsetType = UNSET


class Request(msgspec.Struct, frozen=True, gc=False):
    """A message that wants an answer. `params` is {} where there were none."""

    id: Id
    method: str
    params: dict[str, Raw]


class Notification(msgspec.Struct, frozen=True, gc=False):
    """A message that wants none."""

    method: str
    params: dict[str, Raw]


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer: exactly one of `result` and `error` is there. `id` is None if the peer could not
    tell what it answers (an error only)."""

    id: Id | None
    result: Raw | None = None
    error: ErrorObject | None = None


Message = Request | Notification | Response


class _Frame(msgspec.Struct, gc=False):
    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: dict[str, Raw] | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: ErrorObject | UnsetType = UNSET


class _Named(msgspec.Struct, gc=False):
    id: int | str | None = None


class _Outline(msgspec.Struct, gc=False):
    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_outline = msgspec.json.Decoder(_Outline).decode
_decode_batch = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.encode


def decode(data: bytes, *, depth: int = MAX_DEPTH, values: float = math.inf) -> Message:
    """The message in `data`, with up to so many values (by its commas and brackets; with those in texts, up
    to ten times as many).

    Raises ParseError (not JSON, not UTF-8, nested too deeply, too many), InvalidRequest (not a JSON-RPC
    message, a batch included) or InvalidArguments (`params` is no object); `failed_id` tells whom to answer.
    """
    try:
        frame = _parse(_decode_frame, data, depth, values)
    except msgspec.ValidationError as problem:
        raise _invalid(data, problem) from None
    return _classify(frame)


def is_batch(data: bytes) -> bool:
    """Whether the bytes are a JSON array, as far as their first character tells."""
    return data[:1] == b"[" or data[:64].lstrip(b" \t\r\n")[:1] == b"["


def decode_batch(
    data: bytes, *, limit: int, depth: int = MAX_DEPTH, values: float = math.inf
) -> list[Message | InvalidRequest | InvalidArguments]:
    """The messages of a batch, and an error in the place of each that is none.

    Raises ParseError if the whole is not JSON, InvalidRequest if it is empty or longer than `limit`.
    """
    if data.count(b'"jsonrpc"') > 10 * limit:  # no need to take apart what is far too long
        raise InvalidRequest(f"a batch holds at most {limit} messages")
    if data.count(b",") > limit * _COMMAS:
        raise InvalidRequest(
            f"a batch holds at most {limit} messages, and {limit * _COMMAS} commas"
        )
    try:
        parts = _parse(_decode_batch, data, depth, values)
    except msgspec.ValidationError:
        raise InvalidRequest("a batch is an array of messages") from None
    if not parts:
        raise InvalidRequest("a batch must not be empty")
    if len(parts) > limit:
        raise InvalidRequest(f"a batch holds at most {limit} messages, this one {len(parts)}")
    messages: list[Message | InvalidRequest | InvalidArguments] = []
    for part in parts:
        try:
            messages.append(decode(bytes(part), depth=depth))
        except (InvalidRequest, InvalidArguments) as problem:
            messages.append(problem)
    return messages


def failed_id(data: bytes) -> Id | None:
    """The id of a message that could not be decoded, where it can still be read; else None."""
    try:
        return _decode_named(data).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def encode_request(id: Id, method: str, params: Mapping[str, Any] | Raw | None = None) -> bytes:  # noqa: A002
    """A request as one JSON object."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b%b}' % (
        _encode(id),
        _encode(method),
        _tail(params),
    )


def encode_notification(method: str, params: Mapping[str, Any] | Raw | None = None) -> bytes:
    """A notification as one JSON object."""
    return b'{"jsonrpc":"2.0","method":%b%b}' % (_encode(method), _tail(params))


def encode_result(id: Id, result: Raw | bytes) -> bytes:  # noqa: A002
    """A successful answer as one JSON object."""
    # id is an int in nearly every call, and b"%d" is three times as fast as the encoder
    name = b"%d" % id if type(id) is int else _encode(id)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (name, result)


def encode_error(id: Id | None, error: Mapping[str, Any] | ErrorObject) -> bytes:  # noqa: A002
    """A failure as one JSON object. Without an id the member is left out, as MCP has it."""
    if id is None:
        return b'{"jsonrpc":"2.0","error":%b}' % _encode(error)
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (_encode(id), _encode(error))


def one_line(data: bytes) -> bytes:
    """The same JSON without line breaks, for framings that end at one (stdio, server-sent events).

    Within JSON strings line breaks are escaped, so those that are left are white space.
    """
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\n", b" ").replace(b"\r", b" ")
    return data


def too_deep(data: bytes, depth: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects are nested more than `depth` levels; for valid JSON it is exact.

    Few brackets cannot nest deeply; where there are many, all else is taken away by passes over bytes
    that run in C, and of the brackets left only those are counted one by one that may be too deep.
    """
    if data.count(b"[") + data.count(b"{") <= depth:
        return False
    steps = _steps(data)
    level = 0
    for start in range(0, len(steps), _BLOCK):
        block = steps[start : start + _BLOCK]
        opened = block.count(b"\x01")
        if level + opened > depth and level + max(accumulate(array("b", block))) > depth:
            return True
        level += 2 * opened - len(block)
    return False


def containers(data: bytes) -> int:
    """How many arrays and objects there are in valid JSON."""
    return _steps(data).count(b"\x01")


def _steps(data: bytes) -> bytes:
    """The brackets of JSON as steps into (1) and out of (-1) arrays and objects, without those in strings."""
    rest = _unescaped(data).translate(_AS_STEPS, _NOT_STRUCTURE)
    for quotes in _EVEN:  # what follows them is as much within a string, or without, as it was
        rest = rest.replace(quotes, b"")
    return _STRING.sub(b"", rest)


def _in_strings(data: bytes, most: float) -> int:
    """How many commas and brackets stand in the strings of valid JSON; -1 if it has more strings than so
    many values can have."""
    quotes = int(4 * most)  # of two strings only one can be a name
    parts = _unescaped(data).split(b'"', quotes + 1)
    if len(parts) > quotes + 1:
        return -1
    texts = b"".join(parts[1::2])
    return texts.count(b",") + texts.count(b"[") + texts.count(b"{")


def _unescaped(data: bytes) -> bytes:
    """JSON without escaped quotes and backslashes: each quote that is left begins or ends a string."""
    if b"\\" not in data:
        return data
    return data.replace(b"\\\\", b"").replace(b'\\"', b"")


_BLOCK = 64
_EVEN = (b'"' * 256, b'"' * 16, b'""')
_AS_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # which closes which, the decoder checks
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_STRING = re.compile(rb'"[^"]*"')


def _parse(decoder: Callable[[bytes], _T], data: bytes, depth: int, values: float) -> _T:
    """What the decoder makes of the bytes; its ValidationError is left to the caller.

    The decoder itself stops at Python's recursion limit, so that the exact and dearer look at the depth
    is taken only at JSON that is whole. It also leaves the text within Raw unlooked at.
    """
    if len(data) > LARGE and _bounds(data) not in (b"{}", b"[]"):
        raise ParseError("not valid JSON: neither an object nor an array, or not whole")
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as problem:
            raise ParseError(f"not UTF-8: {problem.reason} at byte {problem.start}") from None
    count = _containers(data, values)
    try:
        value = decoder(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as problem:
        raise ParseError(f"not valid JSON: {problem}") from None
    except RecursionError:
        raise ParseError(f"nested more than {depth} levels deep") from None
    if count > depth and too_deep(data, depth):
        raise ParseError(f"nested more than {depth} levels deep")
    return value


def _bounds(data: bytes) -> bytes:
    """The first and the last character that are no white space, if there is no great deal of that."""
    return data[:_MARGIN].lstrip(_SPACE)[:1] + data[-_MARGIN:].rstrip(_SPACE)[-1:]


def _containers(data: bytes, values: float) -> int:
    """How many arrays and objects there are at most. Raises ParseError for too many `values`."""
    if len(data) <= min(values, LARGE):
        return data.count(b"[") + data.count(b"{")
    containers = commas = 0
    for start in range(0, len(data), LARGE):  # so that of too many only some are counted
        end = start + LARGE
        containers += data.count(b"[", start, end) + data.count(b"{", start, end)
        if len(data) > values:
            commas += data.count(b",", start, end)
            if containers + commas > values * _IN_TEXTS:
                raise ParseError(f"more than {values} values")
    if containers + commas > values:
        within = _in_strings(data, values)
        if within < 0 or containers + commas - within > values:
            raise ParseError(f"more than {values} values")
    return containers


def _classify(frame: _Frame) -> Message:
    if frame.method is not UNSET:
        if frame.result is not UNSET or frame.error is not UNSET:
            raise InvalidRequest("a message is a request or a response, not both")
        params = frame.params if frame.params is not UNSET else {}
        if frame.id is UNSET:
            return Notification(frame.method, params)
        if frame.id is None:
            raise InvalidRequest("the id of a request must not be null")
        return Request(frame.id, frame.method, params)
    if frame.result is not UNSET:
        if frame.error is not UNSET:
            raise InvalidRequest("a response has a result or an error, not both")
        if frame.id is UNSET or frame.id is None:
            raise InvalidRequest("a result needs the id of its request")
        return Response(frame.id, result=frame.result)
    if frame.error is not UNSET:
        return Response(None if frame.id is UNSET else frame.id, error=frame.error)
    raise InvalidRequest("neither a method nor a result nor an error")


def _invalid(data: bytes, problem: msgspec.ValidationError) -> InvalidRequest | InvalidArguments:
    if is_batch(data):
        return InvalidRequest("batches are not supported")
    if len(data) > LARGE:
        text = "a message that is not valid JSON-RPC 2.0"
        return (InvalidArguments if "$.params" in str(problem) else InvalidRequest)(
            f"{text}: {problem}"
        )
    try:
        outline = _decode_outline(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return InvalidRequest(f"not a JSON-RPC 2.0 message: {problem}")
    except RecursionError:
        return ParseError("nested too deeply")
    if outline.method is not UNSET and "$.params" in str(problem):
        return InvalidArguments("params must be an object")
    return InvalidRequest(f"not a JSON-RPC 2.0 message: {problem}")


def _tail(params: Mapping[str, Any] | Raw | None) -> bytes:
    return b"" if params is None else b',"params":%b' % _encode(params)
