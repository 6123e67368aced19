"""The hash of a row, kept in the row: SQLite knows a broken page, but not a changed value."""

from __future__ import annotations

import hashlib

import msgspec

from flowcore.errors import UntrustedFile

Value = str | bytes | int | float | None

_encode = msgspec.msgpack.Encoder().encode


def row_hash(*values: Value) -> int:
    """A signed 64-bit BLAKE2b (RFC 7693) of the values and their types, as SQLite keeps integers.

    Floats must not be minus zero, which SQLite reads back as zero.
    """
    digest = hashlib.blake2b(_encode(values), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def damaged(table: str, key: object) -> UntrustedFile:
    """The error for a row whose hash is not that of its values."""
    return UntrustedFile(
        f"the row {key!r} of {table!r} is not what was written: the file is damaged"
    )
