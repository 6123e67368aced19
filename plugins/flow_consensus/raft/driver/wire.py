"""What drivers send each other: the engine's messages, their own, and pieces of what is too large for one.

1 ...      an engine's message, see `messages`
0x81 ...   a driver's own, MessagePack
0x82 ...   a piece, see `flow_consensus.pieces`
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, MsgspecError, Struct, msgpack

from flow_consensus.pieces import BadMessage
from flow_consensus.raft.membership import Name
from flow_consensus.raft.messages import Message, encode

_OWN = 0x81

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
