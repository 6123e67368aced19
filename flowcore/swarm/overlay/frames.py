"""What overlays say to each other: between neighbours, and from end to end. MessagePack arrays behind a
number.

| between neighbours | what it is |
|---|---|
| `Report` | the links that a node has, signed by it; passed on to all |
| `Digest` | whose reports the neighbour has, and how new they are |
| `Packet` | something for a node, near or far; passed on towards it |
| `Opening` | the head of a stream to a node, near or far |

A packet carries one of `Post`, `Segment`, `Ack`, `Cast`, `Heard`. A node that does not know a number, of
a newer version, drops it and counts it: nothing but what it is meant for depends on it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from flowcore.errors import SwarmError
from flowcore.swarm.interfaces import MOST_MESSAGE

AROUND = 2048
"""Bytes that are kept free around what a user sends."""
MOST_DATA = MOST_MESSAGE - AROUND
"""Bytes of a message through the overlay, at most."""
MOST_HOPS = 255

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]{0,62}\Z")]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
"""A topic or service."""
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Hops = Annotated[int, Meta(ge=0, le=MOST_HOPS)]
Signature = Annotated[bytes, Meta(max_length=64)]
Names = Annotated[tuple[Name, ...], Meta(max_length=1024)]


class Malformed(SwarmError):
    """What came is nothing that an overlay says."""


class _Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all are: an array whose first item says which."""


# ---- between neighbours


class Report(_Frame, frozen=True, tag=1):
    """The links of a node."""

    origin: Name
    boot: Number
    """Another one after each start."""
    version: Number
    """The newest one holds; it grows also from start to start."""
    firm: Names
    """Nodes to which a link stands that the topology asks for."""
    spare: Names
    """Those to which one stands that it does not, or not any more."""
    certificate: Annotated[bytes, Meta(max_length=8192)]
    """Its origin's (DER), for those who have no link to it."""
    signature: Signature


class Digest(_Frame, frozen=True, tag=2):
    """How new the reports are that a node has."""

    versions: Annotated[dict[Name, Number], Meta(max_length=4096)]
    answer: bool
    """Whether it answers one; an answer is not answered again."""


class Packet(_Frame, frozen=True, tag=3):
    """Something from one node to another."""

    source: Name
    target: Name
    hops: Hops
    """How often it may be passed on."""
    body: bytes
    signature: Signature
    """The source's; empty where the link itself proves who sends it."""


class Opening(_Frame, frozen=True, tag=4):
    """The head of a stream; `body` is a `Call`."""

    source: Name
    target: Name
    hops: Hops
    body: bytes
    signature: Signature


# ---- from end to end


class Post(_Frame, frozen=True, tag=1):
    """A message that may be lost."""

    boot: Number
    """The sender's."""
    number: Number
    """One after the other on its lane to this node, so that nobody can play it again; 0 if unsigned."""
    lane: Annotated[int, Meta(ge=0, le=255)]
    topic: Word
    data: bytes


class Segment(_Frame, frozen=True, tag=2):
    """A message of a channel, or word of what is not sent any more."""

    topic: Word
    life: Number
    """Drawn by chance when the sender made the channel;"""
    receiver: Number
    """the receiver's boot, as far as the sender knows. Together they say what the numbers count."""
    number: Number
    """One after the other from 1 on; 0 if there is no message in it."""
    floor: Number
    """The first number that the sender still has: those before it do not come any more."""
    lost: bool
    """Whether something of an earlier life may have been lost."""
    data: bytes


class Ack(_Frame, frozen=True, tag=3):
    """How far a channel's receiver is."""

    topic: Word
    life: Number
    receiver: Number
    expected: Number
    """All before it were taken, or are known as lost."""
    refused: Annotated[tuple[Number, ...], Meta(max_length=1024)]
    """Those of them that nobody listened to."""


class Cast(_Frame, frozen=True, tag=4):
    """A broadcast on its way."""

    content: bytes
    """A `Content`."""
    signature: Signature
    """Its root's."""
    left: Annotated[float, Meta(gt=0)]
    """Seconds until nobody waits for it any more."""
    onward: bool
    """Whether it is to be passed on along the tree; not if it was sent again to one who was missed."""


class Heard(_Frame, frozen=True, tag=5):
    """Who has a broadcast."""

    root: Name
    boot: Number
    number: Number
    proofs: Annotated[dict[Name, Signature], Meta(max_length=1024)]
    """Signatures of those who have it."""


class Content(_Frame, frozen=True, tag=6):
    """What is broadcast."""

    root: Name
    boot: Number
    number: Number
    topic: Word
    data: bytes


class Call(_Frame, frozen=True, tag=7):
    """A stream that is opened."""

    boot: Number
    """The opener's."""
    receiver: Number
    """The boot of the one it is opened to."""
    number: Number
    """One after the other to this node, so that it is served once, whichever ways it comes."""
    service: Word
    head: bytes


# ---- the first chunk that a stream's server sends


class Accepted(_Frame, frozen=True, tag=1):
    """It is served."""


class Refused(_Frame, frozen=True, tag=2):
    """It is not: nothing has begun there."""

    code: Annotated[str, Meta(max_length=32)]
    """`way`: none leads on from here; `service`: there is none of this name; `boot`: for an earlier start;
    `known`: it has come before, on another way; `proof`: its source is not proven."""
    reason: Annotated[str, Meta(max_length=512)]


Spoken = Report | Digest | Packet
Carried = Post | Segment | Ack | Cast | Heard
Answer = Accepted | Refused

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_spoken = msgspec.msgpack.Decoder(Spoken)
_opening = msgspec.msgpack.Decoder(Opening)
_carried = msgspec.msgpack.Decoder(Carried)
_content = msgspec.msgpack.Decoder(Content)
_call = msgspec.msgpack.Decoder(Call)
_answer = msgspec.msgpack.Decoder(Answer)


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"nothing that an overlay says: {error}") from error


def read_spoken(data: bytes) -> Spoken:
    """What a neighbour says. Raises Malformed, as all of these do."""
    said: Spoken = _decode(_spoken, data)
    return said


def read_carried(data: bytes) -> Carried:
    """What a packet carries."""
    said: Carried = _decode(_carried, data)
    return said


def read_content(data: bytes) -> Content:
    """What is broadcast."""
    said: Content = _decode(_content, data)
    return said


def read_opening(data: bytes) -> tuple[Opening, Call]:
    """The head of a stream."""
    opening: Opening = _decode(_opening, data)
    call: Call = _decode(_call, opening.body)
    return opening, call


def read_answer(data: bytes) -> Answer:
    """What a stream's server says first."""
    said: Answer = _decode(_answer, data)
    return said
