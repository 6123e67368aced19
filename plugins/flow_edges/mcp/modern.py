"""Requests of 2026-07-28, whatever the transport: who asks, what is listed, what is resumed."""

from __future__ import annotations

import attrs
import msgspec
from msgspec import Raw

from flow_edges.mcp.client import Caller, Client
from flow_edges.mcp.recorded import Headers
from flow_edges.mcp.service import Service, check_version
from flowcore.errors import InvalidArguments, UnknownMethod
from flowcore.mcp import LATEST_MODERN, LISTS, parse_capabilities, split_meta, text_member
from flowcore.mcp.meta import (
    CLIENT_CAPABILITIES,
    IDEMPOTENCY_KEY,
    LEVELS,
    LOG_LEVEL,
    PROGRESS_TOKEN,
    PROTOCOL_VERSION,
    TRACE,
)

_LATEST = b'"%b"' % LATEST_MODERN.encode()
_NONE: dict[str, Raw] = {}
_REMEMBERED = 256
_LONGEST = 2048
_CHANGING = frozenset({PROGRESS_TOKEN, IDEMPOTENCY_KEY, *TRACE})
"""Members that are another in each request: such a `_meta` will not come again."""
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


@attrs.define(eq=False)
class Introduction:
    """What a client says of itself in the `_meta` of each request."""

    version: str
    capabilities: dict[str, Raw]
    level: str | None
    _last: Client | None = None

    def client(self, caller: Caller) -> Client:
        """Who asks. Raises UnsupportedVersion."""
        last = self._last
        if (
            last is not None
            and last.principal is caller.principal
            and last.address == caller.address
        ):
            return last  # introductions are remembered, and most are of one principal
        if self.version is not LATEST_MODERN:
            check_version(self.version)
        self._last = client = Client(
            modern=True,
            version=self.version,
            principal=caller.principal,
            address=caller.address,
            capabilities=self.capabilities,
            level=self.level,
        )
        return client


def introduced(meta: dict[str, Raw]) -> Introduction:
    """Read `_meta`. Raises InvalidArguments if it lacks what it must have, or that is malformed."""
    version, capabilities = meta.get(PROTOCOL_VERSION), meta.get(CLIENT_CAPABILITIES)
    if version is None or capabilities is None:
        missing = [key for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES) if key not in meta]
        raise InvalidArguments(f"params._meta lacks the required {' and '.join(missing)}")
    text = LATEST_MODERN if bytes(version) == _LATEST else text_member(meta, PROTOCOL_VERSION)
    level = text_member(meta, LOG_LEVEL)
    if level is not None and level not in LEVELS:
        raise InvalidArguments(f"{LOG_LEVEL!r} must be one of {', '.join(LEVELS)}")
    assert text is not None
    declared = _NONE if bytes(capabilities) == b"{}" else parse_capabilities(capabilities)
    return Introduction(text, declared, level)


class Introductions:
    """Takes `_meta` out of requests. What a client repeats word for word in each is read once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[dict[str, Raw], Introduction]] = {}

    def take(self, params: dict[str, Raw]) -> tuple[dict[str, Raw], Introduction | None]:
        """The members of `_meta`, never to be written to, and what it says of the client if it is of
        2026-07-28. Raises InvalidArguments."""
        raw = params.pop("_meta", None)
        if raw is None:
            return _NONE, None
        data = bytes(raw)
        short = len(data) <= _LONGEST
        known = self._known.get(data) if short else None
        if known is not None:
            return known
        meta = split_meta({"_meta": Raw(data)})
        if PROTOCOL_VERSION not in meta:
            return meta, None
        introduction = introduced(meta)
        if short and not (_CHANGING & meta.keys()):
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[data] = meta, introduction
        return meta, introduction


async def answer(
    service: Service,
    method: str,
    params: dict[str, Raw],
    meta: dict[str, Raw],
    client: Client,
    trace: Headers | None = None,
) -> bytes:
    """The result of a request that cannot ask back and is no stream; `trace` is the trace context from
    outside `_meta`. Raises CallError."""
    if method == "completion/complete":
        return await service.complete(params, meta, client, trace)
    with service.recording(method, params, meta, client, trace):
        return await _answer(service, method, params, client)


async def _answer(service: Service, method: str, params: dict[str, Raw], client: Client) -> bytes:
    service.attend(client)
    if method in LISTS:
        return service.listed(method, params, client)
    if method == "server/discover":
        return service.discovery()
    if method.startswith("tasks/"):
        return await service.tasks.answer(method, params, client)
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
