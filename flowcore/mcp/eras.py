"""The protocol's versions and its two eras.

Up to 2025-11-25 a client and a server shake hands (`initialize`) and then share a session; from
2026-07-28 every request stands alone and carries its version and the client's capabilities in `_meta`.
"""

from __future__ import annotations

import enum
from typing import Final


class Era(enum.Enum):
    """How a protocol version opens a conversation."""

    HANDSHAKE = "handshake"
    MODERN = "modern"


HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The versions with a handshake, newest first."""

MODERN: Final = ("2026-07-28",)
"""The versions without one, newest first."""

KNOWN: Final = MODERN + HANDSHAKE

LATEST_HANDSHAKE: Final = HANDSHAKE[0]
LATEST_MODERN: Final = MODERN[0]

UNDECLARED: Final = "2025-03-26"
"""What an HTTP request without a version header is taken for (2025-11-25, basic/transports)."""

BATCHES: Final = frozenset({"2025-03-26"})
"""The only version that knows JSON-RPC batches."""


ELICITING: Final = frozenset({"2025-11-25"})
"""The only version in which a server tells that what it sent a person to a page for is done."""

EXPLAINING: Final = frozenset({"2026-07-28", "2025-11-25"})
"""The versions in which arguments that do not fit a tool's schema are a result that says so, for the model
to read, and no protocol error (SEP-1303; server/tools, error handling)."""


def era_of(version: str) -> Era | None:
    """The era of a version; None if we do not know the version."""
    if version in MODERN:
        return Era.MODERN
    if version in HANDSHAKE:
        return Era.HANDSHAKE
    return None


def negotiate(requested: str) -> str:
    """What a server answers to `initialize`: the version asked for if it has a handshake and we know
    it, else our latest that has one (2025-11-25, basic/lifecycle, version negotiation)."""
    return requested if requested in HANDSHAKE else LATEST_HANDSHAKE
