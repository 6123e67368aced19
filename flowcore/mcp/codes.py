"""JSON-RPC and MCP error codes, the errors we raise with them, and their HTTP statuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from flowcore.errors import InvalidArguments, InvalidRequest, UnknownMethod

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002
"""Up to 2025-11-25; later versions say INVALID_PARAMS."""
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
URL_ELICITATION_REQUIRED: Final = -32042
"""2025-11-25 only."""

_MODERN_STATUS: Final[Mapping[int, int]] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}


def modern_status(code: int) -> int:
    """The HTTP status of a JSON-RPC error in 2026-07-28; 200 where the specification names none."""
    return _MODERN_STATUS.get(code, 200)


class ParseError(InvalidRequest):
    """The bytes are not JSON, or nested too deeply."""

    code: ClassVar[int] = PARSE_ERROR


class HeaderMismatch(InvalidRequest):
    """An HTTP header does not mirror the body, or a required one is missing or malformed."""

    code: ClassVar[int] = HEADER_MISMATCH


class MissingCapability(UnknownMethod):
    """The work needs something of the client that it did not declare."""

    code: ClassVar[int] = MISSING_CAPABILITY
    http_status: ClassVar[int] = 400

    def __init__(self, required: Mapping[str, Any]) -> None:
        names = ", ".join(sorted(required))
        super().__init__(
            f"missing required client capability: {names}",
            data={"requiredCapabilities": dict(required)},
        )


class UnsupportedVersion(InvalidArguments):
    """The client speaks a version that this server does not."""

    code: ClassVar[int] = UNSUPPORTED_VERSION

    def __init__(self, requested: str, supported: Sequence[str]) -> None:
        super().__init__(
            "unsupported protocol version",
            data={"supported": list(supported), "requested": requested},
        )
