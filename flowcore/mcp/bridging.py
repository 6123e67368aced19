"""Results, errors and questions on their way from one era to the other, on raw bytes.

Within an era nothing here is needed: bytes pass through. Between eras, members are added by splicing and
only where the bytes say that a member may already be there is the object taken apart and put together.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from flowcore.errors import CallError, UnknownTarget, UpstreamError, UpstreamFailure
from flowcore.mcp.codes import INVALID_PARAMS, RESOURCE_NOT_FOUND
from flowcore.mcp.meta import SERVER_INFO

Scope = Literal["public", "private"]

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


class _Typed(msgspec.Struct, gc=False):
    resultType: str = "complete"  # noqa: N815 - the wire's name


_decode_typed = msgspec.json.Decoder(_Typed).decode
_COMPLETE: Final = Raw(b'"complete"')


def _plain(data: bytes) -> bool:
    """Whether no member that 2026-07-28 adds can be in these bytes, not even with an escaped name."""
    find = (
        data.find
    )  # `in` tries first whether its left side is a number, which costs as much again
    return (
        find(b'"_meta"') < 0
        and find(b'"resultType"') < 0
        and find(b'"ttlMs"') < 0
        and find(b'"cacheScope"') < 0
        and find(b"\\u") < 0
    )


def result_type(result: Raw | bytes) -> str:
    """The `resultType` of a result; "complete" where there is none.

    Raises UpstreamFailure if it is not a JSON object or the member is no string.
    """
    data = bytes(result)
    if b"resultType" not in data and b"\\u" not in data:
        return "complete"
    try:
        return _decode_typed(data).resultType
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise UpstreamFailure(f"a result that is none: {problem}") from None


def members(result: Raw | bytes) -> dict[str, Raw]:
    """The members of a JSON object, each as bytes. Raises UpstreamFailure if it is not an object."""
    try:
        return _decode_members(result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise UpstreamFailure(f"a result that is no JSON object: {problem}") from None


class Stamp:
    """What a server adds to results of an earlier form so that they are whole 2026-07-28 results.

    `server` is its `Implementation` object as JSON. One per server; its splices are made once.
    """

    def __init__(self, server: bytes) -> None:
        self._server = Raw(server)
        self._meta = Raw(_encode({SERVER_INFO: self._server}))
        self._head = b'{"resultType":"complete","_meta":%b' % self._meta
        self._heads: dict[tuple[int, Scope], bytes] = {}

    def modern(
        self, result: Raw | bytes, *, ttl_ms: int | None = None, scope: Scope = "private"
    ) -> bytes:
        """The result with `resultType`, `_meta` with the server's name, and, where `ttl_ms` is given
        (cacheable methods), `ttlMs` and `cacheScope`. Members it has already stay as they are.

        Raises UpstreamFailure if `result` is no JSON object.
        """
        data = bytes(result)
        if data.startswith(b'{"') and _plain(data):
            head = self._head if ttl_ms is None else self._cacheable(ttl_ms, scope)
            return b"%b,%b" % (head, data[1:])
        parts = members(data)
        parts.setdefault("resultType", _COMPLETE)
        if ttl_ms is not None:
            parts.setdefault("ttlMs", Raw(b"%d" % ttl_ms))
            parts.setdefault("cacheScope", Raw(_encode(scope)))
        meta = members(parts["_meta"]) if "_meta" in parts else {}
        meta.setdefault(SERVER_INFO, self._server)
        parts["_meta"] = Raw(_encode(meta))
        return _encode(parts)

    def _cacheable(self, ttl_ms: int, scope: Scope) -> bytes:
        head = self._heads.get((ttl_ms, scope))
        if head is None:
            head = b'%b,"ttlMs":%d,"cacheScope":"%b"' % (self._head, ttl_ms, scope.encode())
            if len(self._heads) < 64:
                self._heads[ttl_ms, scope] = head
        return head


def handshake_result(result: Raw | bytes) -> bytes:
    """A complete 2026-07-28 result in the earlier form: without `resultType`, `ttlMs`, `cacheScope` and
    the server's name in `_meta`. Raises UpstreamFailure if it is no JSON object."""
    data = bytes(result)
    if _plain(data):
        return data
    parts = members(data)
    for key in ("resultType", "ttlMs", "cacheScope"):
        parts.pop(key, None)
    if "_meta" in parts:
        meta = members(parts["_meta"])
        meta.pop(SERVER_INFO, None)
        if meta:
            parts["_meta"] = Raw(_encode(meta))
        else:
            del parts["_meta"]
    return _encode(parts)


def error_for(error: CallError, *, modern: bool) -> dict[str, Any]:
    """The JSON-RPC error object of a failure in the words of the asking side's era.

    That a resource was not found is -32002 up to 2025-11-25, and -32602 in 2026-07-28, which forbids the
    older code.
    """
    wire = error.wire()
    if modern:
        if isinstance(error, UpstreamError) and wire["code"] == RESOURCE_NOT_FOUND:
            wire["code"] = INVALID_PARAMS
    elif isinstance(error, UnknownTarget) and isinstance(error.data, dict) and "uri" in error.data:
        wire["code"] = RESOURCE_NOT_FOUND
    return wire


def question_for(method: str, params: Raw | bytes, *, modern: bool) -> Raw:
    """The params of a server's question in the form of the era of the client that is asked.

    2025-11-25 needs an `elicitationId` for elicitation by URL, 2026-07-28 has none.
    Raises UpstreamFailure if `params` is no JSON object.
    """
    if method != "elicitation/create" or b'"url"' not in bytes(params):
        return Raw(bytes(params))
    parts = members(params)
    if parts.get("mode") is None or bytes(parts["mode"]) != b'"url"':
        return Raw(bytes(params))
    if modern:
        parts.pop("elicitationId", None)
    else:
        parts.setdefault("elicitationId", Raw(_encode(str(uuid.uuid4()))))
    return Raw(_encode(parts))


class _InputRequest(msgspec.Struct, gc=False):
    method: str
    params: Raw = Raw(b"{}")


class InputRequired(msgspec.Struct, gc=False):
    """An answer of 2026-07-28 that asks back: questions by key, and a state to be returned as it is."""

    inputRequests: dict[str, _InputRequest] = {}  # noqa: N815 - msgspec copies it
    requestState: str | None = None  # noqa: N815


_decode_required = msgspec.json.Decoder(InputRequired).decode


def input_required(result: Raw | bytes) -> InputRequired:
    """A result of type `input_required`, taken apart. Raises UpstreamFailure if it is malformed."""
    try:
        return _decode_required(result)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise UpstreamFailure(f"a malformed input_required result: {problem}") from None


def encode_input_required(
    questions: Mapping[str, tuple[str, Raw]], state: str | None, server: bytes
) -> bytes:
    """A result that asks the client; `questions` are (method, params) by key."""
    result: dict[str, Any] = {"resultType": "input_required"}
    if questions:
        result["inputRequests"] = {
            key: {"method": method, "params": params} for key, (method, params) in questions.items()
        }
    if state is not None:
        result["requestState"] = state
    result["_meta"] = {SERVER_INFO: Raw(server)}
    return _encode(result)
