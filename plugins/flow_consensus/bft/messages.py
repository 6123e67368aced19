"""What nodes say to each other, as checked structs, and as bytes in one form only.

A message's bytes are one byte of version, then MessagePack. What is not exactly what its meaning is written
as is refused: extra bytes, longer forms of a number, fields of the wrong type, out of range, or too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, msgpack

from flow_consensus.bft.blocks import (
    MOST_BLOCK,
    Change,
    Evidence,
    Height,
    Request,
    Signature,
    Signed,
    View,
)
from flow_consensus.bft.epochs import MOST_MEMBERS, Count, Digest
from flow_consensus.pieces import BadMessage, decoded

VERSION = 1
"""The first byte of each message."""
MOST_BLOCKS = 256
"""Blocks in one answer."""
MOST_CHUNK = 512 * 1024
"""Bytes of a piece of a snapshot."""

Index: TypeAlias = Annotated[int, Meta(ge=0, lt=MOST_MEMBERS)]
Mask: TypeAlias = Annotated[int, Meta(ge=0, le=2**MOST_MEMBERS - 1)]
Encoded: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=MOST_BLOCK)]


class Certificate(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A quorum has signed one statement."""

    kind: Annotated[int, Meta(ge=1, le=6)]
    epoch: Count
    height: Height
    view: View
    digest: Digest
    signatures: Annotated[list[tuple[Index, Signature]], Meta(max_length=MOST_MEMBERS)]
    """A voter's place among the voters in order, and its signature; in the order of the places."""


class Checkpoint(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the state is after a block, signed by a quorum of that block's epoch or the next."""

    standing: Annotated[bytes, Meta(max_length=2**20)]
    """What the engine knows there: see `standing`."""
    state: Digest
    """Of the state's snapshot at that position."""
    certificate: Certificate


class Ask(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Commands of a node, to all voters: whoever leads puts them into a block."""

    request: Request


class Proposal(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """<PROPOSAL, h, r, v, validRound> (Algorithm 1, line 19)."""

    signed: Signed
    block: Encoded
    proof: Certificate | None = None
    """Where validRound is not -1: the quorum of prevotes of that view (line 28)."""


class Vote(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """<PREVOTE, ...>, <PRECOMMIT, ...>, or a vote for a checkpoint."""

    signed: Signed


class Here(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """Where a node is, and what it has there: who knows more, tells it. Not signed: it decides nothing."""

    cluster: Digest
    height: Height
    """The last that is decided here."""
    view: View
    proposal: bool = False
    """Whether the proposal of that view is here."""
    prevotes: Mask = 0
    """Whose prevotes of that view are here: bit 0 is the first voter."""
    precommits: Mask = 0
    checkpoint: Height = 0
    """The last checkpoint for which there is a certificate here."""
    asking: bool = False
    """Whether there is something that this node waits for."""


class Fetch(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """Send what was decided from a height on."""

    height: Height


class Blocks(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """Blocks that follow each other, each with a quorum of precommits."""

    blocks: Annotated[list[tuple[Encoded, Certificate]], Meta(max_length=MOST_BLOCKS)]


class Offer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """The blocks asked for are not kept any more: begin with this state."""

    checkpoint: Checkpoint


class FetchChunk(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """Send a piece of the snapshot at a checkpoint, numbered from 0 on."""

    height: Height
    number: Count


class Chunk(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """A piece of a snapshot."""

    height: Height
    number: Count
    data: Annotated[bytes, Meta(max_length=MOST_CHUNK)]
    last: bool


class Read(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """How far may anything be decided? `height` is what the asker has."""

    id: Count
    height: Height


class ReadAnswer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """Nothing beyond `height` is precommitted here; more than the asker has needs a proof."""

    id: Count
    height: Height
    proof: Certificate | None = None
    """Precommits of that height, or prevotes of it: what made this node precommit."""


class Accuse(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """A voter has contradicted itself."""

    evidence: Evidence


class Endorse(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    """A change, with those who want it as far as the sender knows."""

    change: Change


class Stable(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=14):
    """A checkpoint's certificate, for who has not got the votes."""

    checkpoint: Checkpoint


class Quorum(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=15):
    """Votes of many for one block, which the leader has had and passes on."""

    certificate: Certificate


Message: TypeAlias = (
    Ask
    | Proposal
    | Vote
    | Here
    | Fetch
    | Blocks
    | Offer
    | FetchChunk
    | Chunk
    | Read
    | ReadAnswer
    | Accuse
    | Endorse
    | Stable
    | Quorum
)

_PREFIX = bytes([VERSION])
_ENCODER = msgpack.Encoder()
_DECODER: msgpack.Decoder[Message] = msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message as bytes."""
    return _PREFIX + _ENCODER.encode(message)


def decode(data: bytes) -> Message:
    """Bytes as a message, each field checked. Raises BadMessage, also for another form of one."""
    message = decoded(data, VERSION, _DECODER)
    if encode(message) != data:
        raise BadMessage("a message in a form that no node writes")
    return message


def in_order(signatures: Sequence[tuple[int, bytes]]) -> bool:
    """Whether places rise: each voter once."""
    return all(one[0] < other[0] for one, other in pairwise(signatures))
