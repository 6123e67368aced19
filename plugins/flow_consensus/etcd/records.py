"""What is kept in etcd, and under which keys. Sans-IO.

PREFIX meta                     which log this is
PREFIX head                     the position of the last entry, and the batch it came with
PREFIX log/<first position>     a batch of entries
PREFIX base                     the snapshot that is whole, and where the log begins
PREFIX snapshot/<id>/<number>   its pieces
PREFIX lock                     who makes a snapshot; goes with a lease
PREFIX nodes/<name>             who is there; goes with a lease
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import attrs
import msgspec
from msgspec import Struct

from flowcore.errors import UntrustedFile

FORMAT = 1
"""Of everything under the prefix."""
_WIDTH = 16

T = TypeVar("T", bound=Struct)


class Meta(Struct, frozen=True, kw_only=True):
    """Which log this is."""

    format: int
    identity: str


class Head(Struct, frozen=True, kw_only=True):
    """Where the log ends."""

    last: int
    batch: str = ""


class Base(Struct, frozen=True, kw_only=True):
    """The snapshot in the place of what the log has let go of."""

    position: int
    """Everything up to here is in it."""
    begins: int
    """Entries up to here are gone from the log."""
    snapshot: str
    """Under which its pieces are."""
    pieces: int
    size: int
    digest: str
    """BLAKE2b of all its bytes, in hexadecimal."""


class Batch(Struct, frozen=True, array_like=True):
    """Entries that were committed together."""

    format: int
    id: bytes
    """By which whoever sent it knows it again."""
    entries: list[bytes]


@attrs.frozen
class Keys:
    """The keys of one log."""

    prefix: bytes

    @property
    def meta(self) -> bytes:
        return self.prefix + b"meta"

    @property
    def head(self) -> bytes:
        return self.prefix + b"head"

    @property
    def base(self) -> bytes:
        return self.prefix + b"base"

    @property
    def lock(self) -> bytes:
        return self.prefix + b"lock"

    @property
    def all_log(self) -> bytes:
        return self.prefix + b"log/"

    @property
    def all_snapshots(self) -> bytes:
        return self.prefix + b"snapshot/"

    @property
    def all_nodes(self) -> bytes:
        return self.prefix + b"nodes/"

    def log(self, first: int) -> bytes:
        """Of the batch whose first entry is at a position."""
        return self.all_log + b"%0*x" % (_WIDTH, first)

    def snapshot(self, name: str) -> bytes:
        """What all pieces of a snapshot begin with."""
        return self.all_snapshots + name.encode() + b"/"

    def piece(self, name: str, number: int) -> bytes:
        return self.snapshot(name) + b"%08x" % number

    def node(self, name: str) -> bytes:
        return self.all_nodes + name.encode()

    def first_of(self, key: bytes) -> int:
        """The position of the first entry of a batch. Raises UntrustedFile for what is no key of a batch."""
        digits = key.removeprefix(self.all_log)
        if len(digits) == _WIDTH and key.startswith(self.all_log):
            try:
                first = int(digits, 16)
            except ValueError:
                first = 0
            if first > 0 and self.log(first) == key:
                return first
        raise UntrustedFile(
            f"{key!r} in etcd is no key of a batch: expected {self.log(1)!r} or like it"
        )


def after_all(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with a prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def encode(record: Meta | Head | Base) -> bytes:
    """As it is kept: JSON, for a person with etcdctl."""
    return msgspec.json.encode(record)


def encode_batch(batch: Batch) -> bytes:
    """As it is kept: MessagePack."""
    return msgspec.msgpack.encode(batch)


def decode(key: bytes, value: bytes, type_: type[T]) -> T:
    """What is kept under a key. Raises UntrustedFile."""
    try:
        return msgspec.json.decode(value, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UntrustedFile(f"{key!r} in etcd is damaged: {error}") from error


def decode_meta(key: bytes, value: bytes) -> Meta:
    """Which log it is. Raises UntrustedFile for one of a newer version."""
    meta = decode(key, value, Meta)
    if meta.format != FORMAT:
        raise UntrustedFile(
            f"{key!r} in etcd has format {meta.format}, made by a newer flowcore; this one knows {FORMAT}"
        )
    if not meta.identity:
        raise UntrustedFile(f"{key!r} in etcd is damaged: it does not say which log it is")
    return meta


_batches = msgspec.msgpack.Decoder(Batch)


def decode_batch(key: bytes, value: bytes) -> Batch:
    """The entries under a key of the log. Raises UntrustedFile."""
    try:
        batch = _batches.decode(value)
    except msgspec.MsgspecError as error:
        raise UntrustedFile(f"{key!r} in etcd is damaged: {error}") from error
    if batch.format != FORMAT:
        raise UntrustedFile(
            f"{key!r} in etcd has format {batch.format}, made by a newer flowcore; this one knows {FORMAT}"
        )
    if not batch.entries or not all(batch.entries):
        raise UntrustedFile(f"{key!r} in etcd is damaged: an entry is empty")
    return batch


def new_digest() -> hashlib.blake2b:
    """Of a snapshot's bytes."""
    return hashlib.blake2b(digest_size=32)
