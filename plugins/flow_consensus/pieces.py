"""Messages that are larger than a transport takes, in pieces.

0x82 ...   a piece: number of the whole (u64), number and count of pieces (u32 each), bytes
"""

from __future__ import annotations

import struct

LARGEST = 64 * 2**20
"""Bytes of a message; more are refused unread."""

_PIECE = 0x82
_HEAD = struct.Struct(">BQII")
_LEAST = 256
"""The least that a transport must take in one message."""


class BadMessage(ValueError):
    """Bytes that are no message of this version."""


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
