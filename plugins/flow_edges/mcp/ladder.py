"""What the headers of a 2026-07-28 request must say of its body (streamable-http, server validation)."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flow_edges.mcp.outline import Outline
from flowcore.errors import InvalidArguments
from flowcore.http import HeaderMap
from flowcore.mcp import (
    METHODS,
    HeaderMismatch,
    ParamHeader,
    Request,
    decode_value,
)
from flowcore.mcp.headers import METHOD, VERSION

_PER_BYTE = 6
"""Most bytes of JSON that stand for one of a header: `\\u0041`."""


def check_mirrors(said: Outline, message: Request, version: str) -> None:
    """Raises HeaderMismatch unless version, method and name are each there once and as in the body."""
    if said.twice is not None:
        raise HeaderMismatch(f"the header {_shown(said.twice)} stands more than once")
    if said.version != version:
        raise _mismatch(said.version, VERSION, "the version in _meta")
    if said.method != message.method:
        raise _mismatch(said.method, METHOD, "the method")
    method = METHODS.get(message.method)
    if method is None or method.subject is None:
        return
    raw = message.params.get(method.subject)
    if raw is None:
        return  # refused as a missing parameter
    if said.name is None:
        raise HeaderMismatch("the header Mcp-Name is missing")
    if len(memoryview(raw)) <= _PER_BYTE * len(said.name) + 2:
        if said.quoted == bytes(raw):
            return
        try:
            subject = msgspec.json.decode(raw, type=str)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # refused as a malformed parameter
        if decode_value(said.name.decode("latin-1")) == subject:
            return
    raise HeaderMismatch(f"the header Mcp-Name does not match params.{method.subject}")


def check_params(
    headers: HeaderMap, declared: tuple[ParamHeader, ...], arguments: Raw | None
) -> None:
    """Raises HeaderMismatch unless each header that mirrors an argument agrees with it, InvalidArguments for
    arguments that cannot be read."""
    try:
        values = {} if arguments is None else msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise InvalidArguments(f"params.arguments: {problem}") from None
    for one in declared:
        key = one.header.lower().encode()
        value = headers.get(key)
        if key in headers.repeated:
            raise HeaderMismatch(f"the header {one.header} stands more than once")
        if not one.agrees(None if value is None else value.decode("latin-1"), values):
            where = ".".join(one.path)
            raise HeaderMismatch(f"the header {one.header} does not match argument {where!r}")


def _mismatch(value: str | None, name: bytes, what: str) -> HeaderMismatch:
    fault = "is missing" if value is None else f"does not match {what}"
    return HeaderMismatch(f"the header {_shown(name)} {fault}")


def _shown(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode().split("-")).replace(
        "Mcp-P", "MCP-P"
    )
