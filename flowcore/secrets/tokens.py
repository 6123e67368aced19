"""Static tokens: long random texts, of which only the digests are kept."""

from __future__ import annotations

import hashlib
import secrets

STATIC_PREFIX = "flow_"
"""What all of them begin with."""


def new_token() -> tuple[str, str]:
    """A new token of 32 random bytes, and its SHA-256 digest in hex for the configuration."""
    token = STATIC_PREFIX + secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()
