"""JSON-RPC 2.0 as MCP uses it: bytes to messages and back, payloads passed through as bytes.

`params` are split into their members and `result` is kept whole, all as `msgspec.Raw`: nothing below the
first level is parsed here, and what is sent on is what was received, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from flowcore.errors import InvalidArguments, InvalidRequest
from flowcore.mcp.codes import ParseError
from flowcore.mcp.extent import LARGE, MAX_DEPTH, check_extent, check_text

_T = TypeVar("_T")

Id = int | str
"""A request's id. null and fractions are not allowed in MCP; integers are of 64 bits at most."""

_MARGIN = 1 << 16
"""Bytes of white space around a large message from which on it is refused."""
_SPACE = b" \t\r\n"

_VALUES = 1000
"""Most values in a batch for each message allowed: splitting one of nothing but commas costs a second."""

_LONG = 1 << 16
"""Most bytes of what is short in a right message (id, method, version, an error's message) in a large one."""

_WRONG = "a message that is not valid JSON-RPC 2.0"
_BATCH = "batches are not supported"

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


_Name = Annotated[str, msgspec.Meta(max_length=64)]


class _LargeError(msgspec.Struct, gc=False):
    code: int
    message: Raw
    data: Raw | UnsetType = UNSET


class _LargeFrame(msgspec.Struct, gc=False):
    """What is short in a right message is left as it is, until it proves to be; names of params must be."""

    jsonrpc: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    params: dict[_Name, Raw] | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: _LargeError | UnsetType = UNSET


class _Named(msgspec.Struct, gc=False):
    id: int | str | None = None


class _Outline(msgspec.Struct, gc=False):
    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_large = msgspec.json.Decoder(_LargeFrame).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_outline = msgspec.json.Decoder(_Outline).decode
_decode_batch = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.encode


def decode(
    data: bytes, *, depth: int = MAX_DEPTH, values: float = math.inf, escapes: float = math.inf
) -> Message:
    """The message in `data`, with up to so many values and escapes in texts, as `check_extent` counts them.

    Raises ParseError (not JSON, not UTF-8, nested too deeply, too many), InvalidRequest (not a JSON-RPC
    message, a batch included) or InvalidArguments (`params` is no object); `failed_id` tells whom to answer.
    """
    large = len(data) > LARGE
    if large and _bounds(data) == b"[]":
        raise InvalidRequest(_BATCH)  # whoever takes batches reads it as one
    decoder = _large_frame if large else _decode_frame
    try:
        frame = _parse(decoder, data, depth, values, escapes)
    except msgspec.ValidationError as problem:
        raise _invalid(data, problem) from None
    return _classify(frame)


def is_batch(data: bytes) -> bool:
    """Whether the bytes are a JSON array, as far as their first character tells."""
    return data[:1] == b"[" or data[:64].lstrip(b" \t\r\n")[:1] == b"["


def decode_batch(
    data: bytes,
    *,
    limit: int,
    depth: int = MAX_DEPTH,
    values: float = math.inf,
    escapes: float = math.inf,
) -> list[Message | InvalidRequest | InvalidArguments]:
    """The messages of a batch, and an error in the place of each that is none.

    Raises ParseError if the whole is not JSON, InvalidRequest if it is empty or longer than `limit`.
    """
    try:
        parts = _parse(_decode_batch, data, depth, min(values, limit * _VALUES), escapes)
    except msgspec.ValidationError:
        raise InvalidRequest("a batch is an array of messages") from None
    if not parts:
        raise InvalidRequest("a batch must not be empty")
    if len(parts) > limit:
        raise InvalidRequest(f"a batch holds at most {limit} messages, this one {len(parts)}")
    messages: list[Message | InvalidRequest | InvalidArguments] = []
    for part in parts:
        try:
            messages.append(_of_batch(part))
        except (InvalidRequest, InvalidArguments) as problem:
            messages.append(problem)
    return messages


def _of_batch(part: Raw) -> Message:
    """A message of a batch, of which all is known that concerns the whole."""
    try:
        large = len(memoryview(part)) > LARGE
        return _classify((_large_frame if large else _decode_frame)(part))
    except msgspec.ValidationError as problem:
        raise _invalid(bytes(part), problem) from None


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


def _parse(
    decoder: Callable[[bytes], _T], data: bytes, depth: int, values: float, escapes: float
) -> _T:
    """What the decoder makes of the bytes; its ValidationError is left to the caller.

    It leaves the text within Raw unlooked at, and takes as long as there are values: a large message is first
    seen to be neither too much nor too deep.
    """
    large, ascii_only = len(data) > LARGE, data.isascii()
    if large:
        if _bounds(data) not in (b"{}", b"[]"):
            raise ParseError("not valid JSON: neither an object nor an array, or not whole")
        check_extent(data, depth=depth, values=values, escapes=escapes)
    elif not ascii_only:
        check_text(data)
    try:
        value = decoder(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ParseError(f"not valid JSON: {problem}") from None
    except RecursionError:
        raise ParseError(f"nested more than {depth} levels deep") from None
    if not large:
        check_extent(data, depth=depth, values=values, escapes=escapes)
    elif not ascii_only:
        check_text(data)
    return value


def _large_frame(data: bytes | Raw) -> _Frame:
    """The frame of a large message. Raises InvalidRequest where a part is long that never is."""
    large = _decode_large(data)
    short = []
    for name in ("jsonrpc", "id", "method"):
        part = getattr(large, name)
        if part is not UNSET:
            short.append(b'"%b":%b' % (name.encode(), _short(name, part)))
    frame = _decode_frame(b"{%b}" % b",".join(short))
    frame.params, frame.result = large.params, large.result
    if large.error is not UNSET:
        message = _decode_text(_short("error.message", large.error.message))
        frame.error = ErrorObject(large.error.code, message, large.error.data)
    return frame


def _short(name: str, part: Raw) -> Raw:
    if len(memoryview(part)) > _LONG:
        raise InvalidRequest(f"{_WRONG}: {name!r} has more than {_LONG} bytes")
    return part


def _bounds(data: bytes) -> bytes:
    """The first and the last character that are no white space, if there is no great deal of that."""
    return data[:_MARGIN].lstrip(_SPACE)[:1] + data[-_MARGIN:].rstrip(_SPACE)[-1:]


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
        return InvalidRequest(_BATCH)
    if len(data) > LARGE:
        kind = InvalidArguments if "$.params" in str(problem) else InvalidRequest
        return kind(f"{_WRONG}: {problem}")
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
