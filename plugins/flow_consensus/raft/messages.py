"""What nodes say to each other, as checked structs, and as bytes.

A message's bytes are one byte of version, then MessagePack. Nothing that comes from outside is believed
before it has been checked: `decode` refuses bytes that are no message, with fields of the wrong type or out
of range; `impossible` tells what cannot be said by any node that follows the protocol.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, msgpack

from flow_consensus.pieces import decoded
from flowcore.state import LogEntry

VERSION = 1
"""The first byte of each message."""

Term: TypeAlias = Annotated[int, Meta(ge=0, le=2**48)]
Position: TypeAlias = Annotated[int, Meta(ge=0, le=2**56)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
About: TypeAlias = Annotated[bytes, Meta(max_length=2**18)]


class Base(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """What every message says first."""

    term: Term
    """The sender's term; of `Vote` and its answer, see there."""


class Vote(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=1):
    """Asks for a vote (section 3.4), or whether one would be given (pre-vote, section 9.6)."""

    last: Position
    last_term: Term
    pre: bool = False
    """Only asks: `term` is the one that the sender would stand in, and nobody changes theirs."""
    force: bool = False
    """The leader itself asked for this election (section 3.10): it need not be silent."""


class VoteAnswer(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=2):
    """`term` is that of the request if it is granted, the sender's own if not."""

    granted: bool
    pre: bool = False


class Append(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=3):
    """Entries that follow a position of a term (section 3.5); none, to ask whether the logs match there."""

    previous: Position
    previous_term: Term
    commit: Position
    entries: list[LogEntry] = []


class AppendAnswer(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=4):
    """The log matches up to `match`, durably; or, `rejected`, it does not match at `match`."""

    match: Position
    rejected: bool = False
    hint: Position = 0
    """Rejected: the last position at which it may match, as far as terms tell (section 3.5, page 21)."""
    hint_term: Term = 0
    """The term of the entry there."""


class Heartbeat(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=5):
    """The leader is there. `round` numbers heartbeats, for reads (section 6.4) and the lease."""

    commit: Position
    round: Count


class HeartbeatAnswer(
    Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=6
):
    """The sender takes the receiver for the leader. Of a higher term: it does not."""

    round: Count


class Commit(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=7):
    """What is committed, for who has nothing else to be told. Is not answered."""

    commit: Position


class TimeoutNow(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=8):
    """The leader hands over (section 3.10): stand for election at once."""


class Read(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=9):
    """A follower asks for a read index (section 6.4)."""

    id: Count
    leased: bool = False


class ReadAnswer(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=10):
    """The read index; -1 if the leader could not give one."""

    id: Count
    position: Annotated[int, Meta(ge=-1, le=2**56)]


class Chunk(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=11):
    """A piece of a snapshot (section 5.1, figure 5.3), numbered from 0 on."""

    position: Position
    """What the snapshot holds: everything up to here."""
    position_term: Term
    about: About
    """The configuration at that position, encoded."""
    number: Count
    data: bytes
    last: bool


class ChunkAnswer(Base, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True, tag=12):
    """Which piece of the snapshot at a position is expected next."""

    position: Position
    number: Count


Message: TypeAlias = (
    Vote
    | VoteAnswer
    | Append
    | AppendAnswer
    | Heartbeat
    | HeartbeatAnswer
    | Commit
    | TimeoutNow
    | Read
    | ReadAnswer
    | Chunk
    | ChunkAnswer
)

_PREFIX = bytes([VERSION])
_ENCODER = msgpack.Encoder()
_DECODER: msgpack.Decoder[Message] = msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message as bytes."""
    return _PREFIX + _ENCODER.encode(message)


def decode(data: bytes) -> Message:
    """Bytes as a message, each field checked. Raises BadMessage."""
    return decoded(data, VERSION, _DECODER)


def impossible(message: Message) -> str:
    """Why no node that follows the protocol says this; empty if one may."""
    if message.term == 0 and type(message) not in (VoteAnswer, HeartbeatAnswer):
        return "a term of 0"
    if type(message) is Append:
        return _impossible_append(message)
    if type(message) is AppendAnswer:
        if message.rejected and message.hint > message.match:
            return f"a hint at {message.hint} for {message.match}"
        if message.hint_term > message.term:
            return f"term {message.hint_term} within term {message.term}"
    elif type(message) is Vote:
        if message.last_term >= message.term or (message.last == 0) != (message.last_term == 0):
            return f"an entry {message.last} of term {message.last_term} before term {message.term}"
    elif type(message) is Chunk and not (
        message.position > 0 and 0 < message.position_term <= message.term
    ):
        return f"a snapshot at {message.position} of term {message.position_term}"
    return ""


def _impossible_append(message: Append) -> str:
    term, position = message.previous_term, message.previous
    if (position == 0) != (term == 0):
        return f"an entry {position} of term {term}"
    for entry in message.entries:
        position += 1
        if entry.position != position:
            return f"entry {entry.position} in the place of {position}"
        if entry.term < term:
            return f"entry {position} of term {entry.term} after term {term}"
        term = entry.term
    if term > message.term:
        return f"an entry of term {term} within term {message.term}"
    return ""
