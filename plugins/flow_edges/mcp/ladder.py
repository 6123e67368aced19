"""What the headers of a 2026-07-28 request must say of its body (streamable-http, server validation)."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flowcore.agents import Tool
from flowcore.http import HeaderMap
from flowcore.mcp import (
    METHODS,
    HeaderMismatch,
    ParamHeader,
    Request,
    decode_value,
    param_headers,
)
from flowcore.mcp.headers import METHOD, NAME, VERSION

_MIRRORS = (VERSION, METHOD, NAME)
_REMEMBERED = 10_000


def check_mirrors(headers: HeaderMap, message: Request, version: str) -> None:
    """Raises HeaderMismatch unless version, method and name are each there once and as in the body."""
    if headers.repeated:
        for name in _MIRRORS:
            if name in headers.repeated:
                raise HeaderMismatch(f"the header {_shown(name)} stands more than once")
    _check(headers, VERSION, version, "the version in _meta")
    _check(headers, METHOD, message.method, "the method")
    method = METHODS.get(message.method)
    if method is None or method.subject is None:
        return
    raw = message.params.get(method.subject)
    if raw is None:
        return  # refused as a missing parameter
    header = headers.get(NAME)
    if header is None:
        raise HeaderMismatch("the header Mcp-Name is missing")
    if b'"%b"' % header == bytes(raw) and not header.startswith(b"=?"):
        return
    try:
        subject = msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # refused as a malformed parameter
    if decode_value(header.decode("latin-1")) != subject:
        raise HeaderMismatch(f"the header Mcp-Name does not match params.{method.subject}")


class ParamChecks:
    """The headers that mirror arguments (`x-mcp-header` in a tool's input schema)."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tool, tuple[ParamHeader, ...]]] = {}

    def check(self, headers: HeaderMap, tool: Tool, arguments: Raw | None) -> None:
        """Raises HeaderMismatch unless each such header agrees with its argument."""
        known = self._known.get(id(tool))
        if known is None or known[0] is not tool:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[id(tool)] = (tool, _declared(tool))
        if not known[1]:
            return
        values = {} if arguments is None else msgspec.json.decode(arguments)
        for one in known[1]:
            key = one.header.lower().encode()
            value = headers.get(key)
            if key in headers.repeated:
                raise HeaderMismatch(f"the header {one.header} stands more than once")
            if not one.agrees(None if value is None else value.decode("latin-1"), values):
                where = ".".join(one.path)
                raise HeaderMismatch(f"the header {one.header} does not match argument {where!r}")


def _declared(tool: Tool) -> tuple[ParamHeader, ...]:
    """The mirrored arguments of a tool; none if its annotations are invalid: no client sends them then."""
    schema = tool.input_schema
    if schema is None or b"x-mcp-header" not in bytes(schema):
        return ()
    try:
        return param_headers(msgspec.json.decode(schema))
    except (ValueError, msgspec.MsgspecError):
        return ()


def _check(headers: HeaderMap, name: bytes, expected: str, what: str) -> None:
    value = headers.get(name)
    if value is None:
        raise HeaderMismatch(f"the header {_shown(name)} is missing")
    if value != expected.encode():
        raise HeaderMismatch(f"the header {_shown(name)} does not match {what}")


def _shown(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode().split("-")).replace(
        "Mcp-P", "MCP-P"
    )
