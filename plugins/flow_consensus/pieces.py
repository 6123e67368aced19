"""Messages as bytes: read with care, and in pieces where they are larger than a transport takes.

0x82 ...   a piece: number of the whole (u64), number and count of pieces (u32 each), bytes
"""

from __future__ import annotations

import struct
from typing import Protocol, TypeVar

from msgspec import MsgspecError, msgpack

T = TypeVar("T")

LARGEST = 64 * 2**20
"""Bytes of a message; more are refused unread."""

_PIECE = 0x82
_HEAD = struct.Struct(">BQII")
_LEAST = 256
"""The least that a transport must take in one message."""


class BadMessage(ValueError):
    """Bytes that are no message of this version."""


def decoded(data: bytes, version: int, decoder: msgpack.Decoder[T]) -> T:
    """What follows the version's byte, as what it is said to be. Raises BadMessage."""
    if len(data) > LARGEST:
        raise BadMessage(f"{len(data)} bytes, and {LARGEST} are the most")
    if data[:1] != bytes((version,)):
        raise BadMessage(f"version {data[0]}, and this is {version}" if data else "no bytes")
    try:
        return decoder.decode(memoryview(data)[1:])
    except (MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from None


def cut(data: bytes, most: int, number: int) -> list[bytes]:
    """A message in pieces of at most so many bytes each; itself alone if it fits."""
    if len(data) <= most:
        return [data]
    size = max(most, _LEAST) - _HEAD.size
    count = -(-len(data) // size)
    return [
        _HEAD.pack(_PIECE, number, at, count) + data[at * size : (at + 1) * size]
        for at in range(count)
    ]


class Joiner:
    """Puts pieces together, one message of a sender at a time: they come in order, or not at all."""

    __slots__ = ("_bytes", "_count", "_number", "_pieces")

    def __init__(self) -> None:
        self._number = -1
        self._count = self._bytes = 0
        self._pieces: list[bytes] = []

    def take(self, data: bytes) -> bytes | None:
        """A whole message, or None while pieces are missing. Raises BadMessage."""
        if data[:1] != b"\x82":
            return data
        if len(data) < _HEAD.size:
            raise BadMessage("a piece of a message is cut off")
        _, number, at, count = _HEAD.unpack_from(data)
        if at == 0:
            self._number, self._count, self._bytes = number, count, 0
            self._pieces = []
        elif number != self._number or at != len(self._pieces) or count != self._count:
            self._forget()
            return None  # one before it was lost, and so is the whole
        self._bytes += len(data) - _HEAD.size
        if self._bytes > LARGEST or count < 2:
            self._forget()
            raise BadMessage(f"a message of more than {LARGEST} bytes, or of {count} pieces")
        self._pieces.append(data[_HEAD.size :])
        if len(self._pieces) < count:
            return None
        whole = b"".join(self._pieces)
        self._forget()
        if whole[:1] == b"\x82":
            raise BadMessage("pieces within pieces")
        return whole

    def _forget(self) -> None:
        self._number = -1
        self._pieces = []


class Carrier(Protocol):
    """A transport, as far as messages are sent over it."""

    @property
    def most(self) -> int:
        """Bytes of one message, at most; 256 at least."""
        ...

    def send(self, to: str, message: bytes) -> bool:
        """Send without waiting; False if it surely does not arrive."""
        ...


class Post:
    """Whole messages over a transport, which may take them in pieces only; and what it sent, in numbers."""

    def __init__(self, carrier: Carrier, number: int) -> None:
        """`number` is one that no earlier life of this node has begun with."""
        self._carrier = carrier
        self._number = number
        self._joiners: dict[str, Joiner] = {}
        self.sent = self.unsent = 0

    def send(self, to: str, data: bytes) -> bool:
        """Send without waiting; False if it surely does not arrive."""
        carrier = self._carrier
        if len(data) <= carrier.most:
            sent = carrier.send(to, data)
        else:
            self._number += 1
            sent = all(carrier.send(to, one) for one in cut(data, carrier.most, self._number))
        self.sent += sent
        self.unsent += not sent
        return sent

    def take(self, sender: str, data: bytes) -> bytes | None:
        """The whole message that this is, or completes; None while pieces are missing. Raises BadMessage."""
        joiner = self._joiners.get(sender)
        if joiner is None:
            joiner = self._joiners[sender] = Joiner()
        return joiner.take(data)
