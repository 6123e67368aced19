"""What `_meta` carries: the keys of both eras and of flowcore, and which of them end at this hop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from flowcore.errors import InvalidArguments
from flowcore.mcp.extent import LARGE

_MCP = "io.modelcontextprotocol/"
PROTOCOL_VERSION: Final = _MCP + "protocolVersion"
CLIENT_CAPABILITIES: Final = _MCP + "clientCapabilities"
CLIENT_INFO: Final = _MCP + "clientInfo"
SERVER_INFO: Final = _MCP + "serverInfo"
LOG_LEVEL: Final = _MCP + "logLevel"
SUBSCRIPTION_ID: Final = _MCP + "subscriptionId"
PROGRESS_TOKEN: Final = "progressToken"  # noqa: S105 - the name of a key
TASKS: Final = _MCP + "tasks"
"""The identifier of the Tasks extension, in capabilities."""

_FLOW = "io.flowcore/"
MISSING: Final = _FLOW + "missing"
"""In a list's `_meta`: the agents whose offers it lacks, because they are not there now."""
NODES: Final = _FLOW + "nodes"
"""In a list's `_meta`: the nodes of a swarm that each agent is at."""
IDEMPOTENCY_KEY: Final = _FLOW + "idempotency-key"
PRIORITY: Final = _FLOW + "priority"
AFFINITY: Final = _FLOW + "affinity"
"""In a request's `_meta`: a text; requests with the same one should meet the same worker."""
DEADLINE: Final = _FLOW + "deadline"
"""In a request's `_meta`: how many seconds the caller will wait."""

TRACE: Final = ("traceparent", "tracestate", "baggage")

HOP: Final = frozenset(
    {
        PROTOCOL_VERSION,
        CLIENT_CAPABILITIES,
        CLIENT_INFO,
        LOG_LEVEL,
        SUBSCRIPTION_ID,
        PROGRESS_TOKEN,
    }
)
"""Keys that speak of one connection: a gateway writes its own and never forwards these."""

LEVELS: Final = (
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
)
"""Log levels, the least severe first (RFC 5424, section 6.2.1)."""

_decode_meta = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode
_decode_text = msgspec.json.Decoder(str).decode
_NONE: Final[dict[str, Raw]] = {}


def split_meta(params: dict[str, Raw]) -> dict[str, Raw]:
    """Take `_meta` out of `params` and give its members; {} if there is none.

    Raises InvalidArguments if it is no object.
    """
    raw = params.pop("_meta", None)
    if raw is None:
        return {}
    try:
        return _decode_meta(raw)
    except msgspec.MsgspecError:
        raise InvalidArguments("params._meta must be an object") from None


def forwardable(meta: Mapping[str, Raw]) -> dict[str, Raw]:
    """The members that go on with a request to the next hop."""
    return {key: value for key, value in meta.items() if key not in HOP}


def passed_on(meta: Mapping[str, Raw], context: bytes = b"") -> bytes:
    """The inside of the next hop's `_meta`: those members, and a trace context that is no member (see
    `Envelope.context`); empty where there is neither."""
    if HOP.issuperset(meta):
        return context
    members = _encode(forwardable(meta))[1:-1]
    return b"%b,%b" % (members, context) if context else members


def text_member(members: Mapping[str, Raw], key: str) -> str | None:
    """A member that must be a string, of up to 1 MiB. Raises InvalidArguments if it is something else."""
    raw = members.get(key)
    if raw is None:
        return None
    if len(memoryview(raw)) > LARGE:
        raise InvalidArguments(f"{key!r} must be a string of at most {LARGE} bytes")
    try:
        return _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidArguments(f"{key!r} must be a string") from None
