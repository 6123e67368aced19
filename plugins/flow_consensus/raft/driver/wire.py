"""What drivers send each other: the engine's messages, their own, and pieces of what is too large for one.

1 ...      an engine's message, see `messages`
0x81 ...   a driver's own, MessagePack
0x82 ...   a piece: number of the whole (u64), number and count of pieces (u32 each), bytes
"""

from __future__ import annotations

import struct
from typing import Annotated, TypeAlias

from msgspec import Meta, MsgspecError, Struct, msgpack

from flow_consensus.raft.membership import Name
from flow_consensus.raft.messages import LARGEST, BadMessage, Message, encode

_OWN = 0x81
_PIECE = 0x82
_HEAD = struct.Struct(">BQII")
_LEAST = 256
"""The least that a transport must take in one message."""

Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Names: TypeAlias = Annotated[list[Name], Meta(max_length=256)]


class Forward(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """A follower's commands, for the leader of a term to propose. The same id again is the same commands."""

    id: Id
    term: Id
    """Who leads in another one does not take them: it may have done so before it was started again."""
    commands: Annotated[list[bytes], Meta(min_length=1)]


class ForwardAnswer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """They are in the log from `first` on, in this term; or, 0, they were not taken."""

    id: Id
    first: Id
    final: bool
    """Not taken, and never were: the leader of that term says so. Else nobody knows."""
    why: str = ""


class Ask(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """A change of who takes part, for the leader to begin."""

    id: Id
    learners: Names
    remove: Names
    voters: Names


class AskAnswer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """Begun, by an entry at `position`; or, 0, why not."""

    id: Id
    position: Id
    busy: bool = False
    why: str = ""


class Look(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """How far are the members? For the leader to answer."""

    id: Id


class Known(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member as its leader knows it."""

    name: Name
    phase: Annotated[str, Meta(max_length=32)]
    match: Id
    lag: Id
    active: bool


class LookAnswer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """All members but the leader; nobody, if who was asked leads no more."""

    id: Id
    members: Annotated[list[Known], Meta(max_length=256)]


Own: TypeAlias = Forward | ForwardAnswer | Ask | AskAnswer | Look | LookAnswer

_ENCODER = msgpack.Encoder()
_DECODER: msgpack.Decoder[Own] = msgpack.Decoder(Own)
_PREFIX = bytes([_OWN])


def encode_own(message: Own) -> bytes:
    """A driver's message as bytes."""
    return _PREFIX + _ENCODER.encode(message)


def decode_own(data: bytes) -> Own:
    """Bytes as a driver's message. Raises BadMessage."""
    try:
        return _DECODER.decode(memoryview(data)[1:])
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


class Encoded:
    """Encodes messages, each once though it goes to several."""

    __slots__ = ("_data", "_last")

    def __init__(self) -> None:
        self._last: Message | None = None
        self._data = b""

    def __call__(self, message: Message) -> bytes:
        if message is not self._last:
            self._last, self._data = message, encode(message)
        return self._data


__all__ = [
    "Ask",
    "AskAnswer",
    "Encoded",
    "Forward",
    "ForwardAnswer",
    "Joiner",
    "Known",
    "Look",
    "LookAnswer",
    "Own",
    "cut",
    "decode_own",
    "encode_own",
]
