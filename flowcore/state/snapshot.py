"""A snapshot: the whole replicated state as a stream of bytes, the same on every node at the same position.

    FLOWSTATE1\\n | frame* | end        frame = length (u32, big-endian), MessagePack [table, [row, ...]]
                                       end   = length, MessagePack ["end", BLAKE2b of all before, rows]

Tables come in the order of the schema, rows in the order of their keys, cut into frames by the rows alone.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Generator
from contextlib import closing
from typing import Any

import msgspec

from flowcore.errors import UntrustedFile
from flowcore.sqlite import writing
from flowcore.state.schema import TABLES, insert, select
from flowcore.state.sealed import cells_of
from flowcore.state.tables import checked, read_meta

MAGIC = b"FLOWSTATE1\n"
_FRAME = 256 * 1024
"""Bytes of rows after which a frame ends."""
_LARGEST = 64 * 2**20
_LENGTH = struct.Struct(">I")

_encode = msgspec.msgpack.Encoder().encode


def frames(connection: sqlite3.Connection) -> Generator[bytes]:
    """The snapshot, a frame at a time; the connection must be in one transaction meanwhile."""
    digest = hashlib.blake2b(digest_size=32)
    count = 0
    digest.update(MAGIC)
    yield MAGIC
    for table in TABLES:
        rows: list[Any] = []
        size = 0
        with closing(connection.execute(select(table))) as found:
            for row in found:
                checked(table, row)
                rows.append(row)
                count += 1
                size += sum(len(value) if isinstance(value, (str, bytes)) else 9 for value in row)
                if size >= _FRAME:
                    yield _framed(_encode((table, rows)), digest)
                    rows, size = [], 0
        if rows:
            yield _framed(_encode((table, rows)), digest)
    yield _framed(_encode(("end", digest.digest(), count)), None)


def _framed(payload: bytes, digest: Any) -> bytes:
    frame = _LENGTH.pack(len(payload)) + payload
    if digest is not None:
        digest.update(frame)
    return frame


class Intake:
    """Takes a snapshot in, in pieces of any size, into the tables of a fresh state. All or nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cells = cells_of(connection)
        self._held = b""
        self._digest = hashlib.blake2b(digest_size=32)
        self._begun = False
        self._count = 0
        self.ended = False
        self._transaction = writing(connection)
        self._transaction.__enter__()
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")  # our own names # noqa: S608 # nosec B608

    def feed(self, data: bytes) -> None:
        """The next piece. Raises UntrustedFile for what is no snapshot, or a damaged one."""
        self._held += data
        if not self._begun:
            if len(self._held) < len(MAGIC):
                return
            if not self._held.startswith(MAGIC):
                raise UntrustedFile("this is no snapshot of a state, or one of another version")
            self._digest.update(MAGIC)
            self._held = self._held[len(MAGIC) :]
            self._begun = True
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > _LARGEST:
                raise UntrustedFile(f"the snapshot is damaged: a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._held) < end:
                return
            frame, self._held = self._held[:end], self._held[end:]
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        if self.ended:
            raise UntrustedFile("the snapshot is damaged: something comes after its end")
        try:
            name, *rest = msgspec.msgpack.decode(frame[_LENGTH.size :], type=list[Any])
            if name == "end":
                digest, count = rest
                if digest != self._digest.digest() or count != self._count:
                    raise UntrustedFile("the snapshot is damaged: its checksum is another")
                self.ended = True
                return
            (rows,) = rest
            self._digest.update(frame)
            self._count += len(rows)
            if self._cells is not None:
                rows = [self._cells.seal(name, row) for row in rows]
            self._connection.executemany(insert(name), rows)
        except (
            msgspec.MsgspecError,
            ValueError,
            TypeError,
            LookupError,
            sqlite3.IntegrityError,
        ) as error:
            raise UntrustedFile(f"the snapshot is damaged: {error}") from error
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError) as error:
            raise UntrustedFile(f"the snapshot is damaged: {error}") from error

    def finish(self, expected: int | None = None) -> int:
        """All pieces are there: take it over, and give its position.

        Raises UntrustedFile, nothing being taken over, if they are not, or if the position is another.
        """
        if not self.ended:
            raise UntrustedFile("the snapshot is cut off")
        position = read_meta(self._connection).position
        if expected is not None and position != expected:
            raise UntrustedFile(f"the snapshot is of position {position}, not of {expected}")
        self._transaction.__exit__(None, None, None)
        return position

    def abandon(self, error: BaseException) -> None:
        """Leave everything as it was."""
        try:
            self._transaction.__exit__(type(error), error, error.__traceback__)
        except BaseException as again:
            if again is not error:
                raise
