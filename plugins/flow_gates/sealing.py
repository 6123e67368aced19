"""Snapshots with a hash before them, so that one that is damaged anywhere is refused whole."""

from __future__ import annotations

from hashlib import blake2b

from flowcore.errors import DamagedState

_LENGTH = 16


def sealed(data: bytes) -> bytes:
    """The data with its hash before it."""
    return blake2b(data, digest_size=_LENGTH).digest() + data


def unsealed(data: bytes, of: str) -> bytes:
    """The data that was sealed; `of` says what it should be. Raises DamagedState."""
    digest, body = data[:_LENGTH], data[_LENGTH:]
    if len(digest) < _LENGTH or blake2b(body, digest_size=_LENGTH).digest() != digest:
        raise DamagedState(f"expected a snapshot of {of}, as it was made; this one is damaged")
    return body
