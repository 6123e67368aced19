"""A snapshot as a file: what it is of, the state, and a checksum of both.

    FLOWSNAP1\\n | length (u32, big-endian) | MessagePack `About` | the state (`snapshot`) | BLAKE2b, 32 bytes

The checksum is of all before it. A file is believed when it was read to its end, not before.
"""

from __future__ import annotations

import hashlib
import pathlib
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import BinaryIO

import msgspec

from flowcore.errors import StorageFailed, UntrustedFile
from flowcore.sqlite import open_database
from flowcore.state.schema import STATE
from flowcore.state.snapshot import Intake

MAGIC = b"FLOWSNAP1\n"
_NAME = b"FLOWSNAP"
_LENGTH = struct.Struct(">I")
_LARGEST = 64 * 1024
_SUM = 32
_PIECE = 256 * 1024


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a snapshot is of."""

    version: int = 1
    cluster: str
    """The cluster's name; empty for a node by itself."""
    node: str
    """The node that gave it."""
    position: int
    """Everything up to here is in it."""
    term: int
    """The term of the entry at that position; 1 where the engine knows none."""
    time: float
    """When it was taken, seconds since 1970."""
    flowcore: str
    """The version that wrote it."""


async def packed(about: About, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The file, in pieces, of the pieces of a state's snapshot."""
    head = msgspec.msgpack.encode(about)
    digest = hashlib.blake2b(digest_size=_SUM)
    first = MAGIC + _LENGTH.pack(len(head)) + head
    digest.update(first)
    yield first
    async with aclosing(pieces):
        async for piece in pieces:
            digest.update(piece)
            yield piece
    yield digest.digest()


def read_about(path: pathlib.Path) -> About:
    """What a file is of; the rest of it is not looked at. Raises UntrustedFile, StorageFailed."""
    try:
        with path.open("rb") as file:
            return _about(file, path)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be read: {error.strerror}") from error


def unpacked(path: pathlib.Path) -> Iterator[bytes]:
    """The pieces of the state.

    Blocks. Raises UntrustedFile, before its end, for a file that is not as it was written; StorageFailed.
    """
    try:
        with path.open("rb") as file:
            _about(file, path)
            end = path.stat().st_size - _SUM
            digest = hashlib.blake2b(digest_size=_SUM)
            begin = file.tell()
            file.seek(0)
            digest.update(file.read(begin))
            while (left := end - file.tell()) > 0:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    break
                digest.update(piece)
                yield piece
            if file.read(_SUM) != digest.digest():
                raise UntrustedFile(f"{path} is damaged or cut off: its checksum is another")
    except OSError as error:
        raise StorageFailed(f"{path} cannot be read: {error.strerror}") from error


def check_archive(path: pathlib.Path) -> About:
    """Read all of a file, and put its state together, in memory; what it is of.

    Blocks. Raises UntrustedFile, with the reason, for what is damaged, cut off, of a newer version or no
    snapshot; StorageFailed.
    """
    about = read_about(path)
    for _ in unpacked(path):  # the checksum first: a damaged file is to be told as one
        pass
    with closing(open_database(None, STATE, exclusive=True, synchronous="NORMAL")) as connection:
        intake = Intake(connection)
        try:
            for piece in unpacked(path):
                intake.feed(piece)
            intake.finish(about.position)
        except BaseException as error:
            intake.abandon(error)
            raise
    return about


def _about(file: BinaryIO, path: pathlib.Path) -> About:
    begin = file.read(len(MAGIC))
    if begin != MAGIC:
        if begin.startswith(_NAME):
            made = begin[len(_NAME) :].decode("latin-1").strip()
            raise UntrustedFile(
                f"{path} is a snapshot of version {made}, made by a newer flowcore; this one knows 1"
            )
        raise UntrustedFile(f"{path} is no snapshot of flowcore")
    length = file.read(_LENGTH.size)
    size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else _LARGEST + 1
    if size > _LARGEST:
        raise UntrustedFile(f"{path} is damaged or cut off: it does not say what it is of")
    try:
        about = msgspec.msgpack.decode(file.read(size), type=About)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UntrustedFile(f"{path} is damaged, or of a newer version: {error}") from error
    if about.version != 1:
        raise UntrustedFile(
            f"{path} is a snapshot of version {about.version}, made by a newer flowcore; this one knows 1"
        )
    return about
