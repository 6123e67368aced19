"""Requests of 2026-07-28, whatever the transport: who asks, what is listed, what is resumed."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from flow_edges.mcp.client import Client
from flow_edges.mcp.service import Service, check_version
from flowcore.errors import InvalidArguments, UnknownMethod
from flowcore.mcp import LATEST_MODERN, LISTS, parse_capabilities, text_member
from flowcore.mcp.meta import CLIENT_CAPABILITIES, LEVELS, LOG_LEVEL, PROTOCOL_VERSION
from flowcore.requests import Principal

_LATEST = b'"%b"' % LATEST_MODERN.encode()
_NONE: dict[str, Raw] = {}
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def envelope_version(meta: dict[str, Raw]) -> str:
    """The protocol version in `_meta`. Raises InvalidArguments if `_meta` lacks what it must have."""
    version = meta.get(PROTOCOL_VERSION)
    missing = [key for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES) if key not in meta]
    if missing or version is None:
        raise InvalidArguments(f"params._meta lacks the required {' and '.join(missing)}")
    if bytes(version) == _LATEST:
        return LATEST_MODERN
    text = text_member(meta, PROTOCOL_VERSION)
    assert text is not None
    return text


def modern_client(version: str, meta: dict[str, Raw], principal: Principal) -> Client:
    """Who asks. Raises UnsupportedVersion or InvalidArguments."""
    if version is not LATEST_MODERN:
        check_version(version)
    capabilities = meta[CLIENT_CAPABILITIES]
    level = text_member(meta, LOG_LEVEL) if LOG_LEVEL in meta else None
    if level is not None and level not in LEVELS:
        raise InvalidArguments(f"{LOG_LEVEL!r} must be one of {', '.join(LEVELS)}")
    return Client(
        modern=True,
        version=version,
        principal=principal,
        capabilities=_NONE if bytes(capabilities) == b"{}" else parse_capabilities(capabilities),
        level=level,
    )


async def answer(
    service: Service, method: str, params: dict[str, Raw], meta: dict[str, Raw], client: Client
) -> bytes:
    """The result of a request that cannot ask back and is no stream. Raises CallError."""
    if method in LISTS:
        return service.listed(method, params, client)
    if method == "server/discover":
        return service.discovery()
    if method == "completion/complete":
        return await service.complete(params, meta, client)
    if method.startswith("tasks/"):
        return service.tasks.answer(method, params, client)
    raise UnknownMethod(f"unknown method {method!r}", data={"method": method})


def input_responses(params: dict[str, Raw]) -> dict[str, Raw]:
    """A retry's answers by key; {} if it brings none. Raises InvalidArguments if they are no object."""
    raw = params.get("inputResponses")
    if raw is None:
        return {}
    try:
        return _decode_members(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidArguments("params.inputResponses must be an object") from None
