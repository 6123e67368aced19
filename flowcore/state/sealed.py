"""Encryption at rest of what the state holds: values that stand sealed in their rows, where there is a key.

What clients gave, texts, values, vectors, requests, results, outcomes, is sealed value by value, and with it
the hash of its row, which would tell who guesses right. Names, owners, ids, times, sizes and how things stand
are in the clear, for the tables are looked up and ordered by them. A connection opens what it reads, so that
the rows are those of a state without a key: their hashes hold, and so do snapshots, to the byte.

    MARK | key (u32, big-endian) | what the storage's seal makes of MessagePack value
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from flowcore.errors import UntrustedFile
from flowcore.state.schema import TABLES

MARK = b"\x9fFLSEAL\x01"
_KEY = struct.Struct(">I")
_HEAD = len(MARK) + _KEY.size
_SEALED = {
    "contents": ("text", "value", "vector"),
    "feedback": ("text", "vector"),
    "answers": ("result",),
    "task_contents": ("payload", "progress", "result"),
    "keys": ("outcome",),
}
PLACES = {
    table: (*(TABLES[table][0].index(name) for name in names), len(TABLES[table][0]))
    for table, names in _SEALED.items()
}
"""Where in the rows of which tables what is sealed stands; the last is the hash."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Seals(Protocol):
    """The keys of a storage: the first one seals, every one of them opens. Without keys it is false."""

    @property
    def current(self) -> int:
        """The number of the key that seals; 0 without one."""
        ...

    def __bool__(self) -> bool: ...

    def check(self, used: Sequence[int], path: object) -> None:
        """Whether all these keys are there. Raises UntrustedFile, with what is missing."""
        ...

    def seal(self, data: bytes, *place: str | int) -> bytes:
        """Sealed for a place with the first key."""
        ...

    def open(self, data: bytes, key: int, *place: str | int) -> bytes:
        """What was sealed for a place. Raises UntrustedFile."""
        ...


@runtime_checkable
class HasSeals(Protocol):
    """A storage that encrypts what it keeps, and has what is kept beside it encrypted, too."""

    @property
    def seals(self) -> Seals: ...


class Cells:
    """Seals what is written, and, as the row factory of a connection, opens what is read."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    def seal(self, table: str, row: Sequence[Any]) -> Sequence[Any]:
        """A whole row, its hash last, as it stands in the file. Raises IndexError for too short a one."""
        places = PLACES.get(table)
        if places is None:
            return row
        sealed = list(row)
        for at in places:
            if sealed[at] is not None:
                sealed[at] = self._sealed(sealed[at])
        return sealed

    def __call__(self, cursor: object, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """The row as it was before it was sealed. Raises UntrustedFile."""
        del cursor
        for value in row:
            if isinstance(value, bytes) and value.startswith(MARK):
                break
        else:
            return row
        return tuple(map(self._opened, row))

    def _sealed(self, value: str | bytes | int) -> bytes:
        head = MARK + _KEY.pack(self._seals.current)
        return head + self._seals.seal(_encode(value), "state")

    def _opened(self, value: Any) -> Any:
        if not isinstance(value, bytes) or not value.startswith(MARK):
            return value
        try:
            (key,) = _KEY.unpack_from(value, len(MARK))
            return _decode(self._seals.open(value[_HEAD:], key, "state"))
        except (UntrustedFile, struct.error, msgspec.MsgspecError) as error:
            raise UntrustedFile(f"a value of the state does not open: {error}") from error


def cells_of(connection: sqlite3.Connection) -> Cells | None:
    """What seals the rows of a connection; None: they stand in the clear."""
    factory = connection.row_factory
    return factory if isinstance(factory, Cells) else None
