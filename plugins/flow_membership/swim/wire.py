"""What is in a datagram once it is opened: a list of messages, each MessagePack.

    body    = array of messages
    message = [kind, field, ...]

Fields may be added at the end of a message: what is older ignores them. A kind that is not known is skipped
and counted, and the rest of the body is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from flow_membership.unreadable import UNREADABLE

MOST_DATAGRAM = 1400
"""Bytes of one datagram at most, sealed: what fits through a tunnel over Ethernet without being cut up."""
MOST_NAME = 255
"""Characters of a name at most."""


class Ping(Struct, array_like=True, tag=1, frozen=True, gc=False):
    """Are you there?"""

    number: int


class Ack(Struct, array_like=True, tag=2, frozen=True, gc=False):
    """I am."""

    number: int


class Forward(Struct, array_like=True, tag=3, frozen=True, gc=False):
    """Pass this sealed datagram on to another member: an indirect probe, or the answer to one.

    Who passes it on cannot read or write it, so that nobody can say of another that it is alive.
    """

    to: str
    packet: bytes
    number: int = 0
    """Of an indirect probe: what a `Nack` names. 0: none is wanted."""
    wait: int = 0
    """After so many milliseconds without an answer a `Nack` is sent."""


class Forwarded(Struct, array_like=True, tag=4, frozen=True, gc=False):
    """A sealed datagram that came through its sender."""

    packet: bytes


class Nack(Struct, array_like=True, tag=5, frozen=True, gc=False):
    """I am here, but no answer came through me (Lifeguard, section 4.1)."""

    number: int


class Claim(Struct, array_like=True, frozen=True, gc=False):
    """Something that a member has signed; `body` is MessagePack of its own, and passed on as it is."""

    body: bytes
    signature: bytes


class AliveClaim(Claim, tag=16, frozen=True, gc=False):
    """A member's word about itself: that it is there, or that it leaves (`Alive`)."""


class AboutClaim(Claim, tag=17, frozen=True, gc=False):
    """A member's word about what it has to tell (`About`)."""


class Accusation(Claim, tag=18, frozen=True, gc=False):
    """A member's word about another: that it suspects it, or holds it for dead (`Accused`)."""


class Alive(Struct, array_like=True, frozen=True, gc=False):
    """The body of an `AliveClaim`."""

    name: str
    incarnation: int
    left: bool
    address: str
    key: bytes
    """The X25519 key of this boot, 32 bytes."""
    oldest: int
    newest: int
    """The versions of the protocol that it knows."""


class About(Struct, array_like=True, frozen=True, gc=False):
    """The body of an `AboutClaim`."""

    name: str
    version: int
    about: bytes


class Accused(Struct, array_like=True, frozen=True, gc=False):
    """The body of an `Accusation`."""

    accuser: str
    subject: str
    incarnation: int
    dead: bool


Message = Ping | Ack | Forward | Forwarded | Nack | AliveClaim | AboutClaim | Accusation
KINDS: tuple[type[Struct], ...] = (
    *(Ping, Ack, Forward, Forwarded, Nack),
    *(AliveClaim, AboutClaim, Accusation),
)
_DECODE: Mapping[int, Callable[[bytes | msgspec.Raw], Any]] = {
    int(kind.__struct_config__.tag): msgspec.msgpack.Decoder(kind).decode  # type: ignore[arg-type]
    for kind in KINDS
}
_LIST = msgspec.msgpack.Decoder(list[msgspec.Raw])
_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode


class Malformed(ValueError):
    """A body, message or claim that is none."""


class Read:
    """The messages of a body, and how many of it could not be read."""

    __slots__ = ("malformed", "messages", "unknown")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.unknown = 0
        self.malformed = 0


def read(body: bytes) -> Read:
    """What is in a body. Raises Malformed if it is no list of messages."""
    try:
        parts = _LIST.decode(body)
    except UNREADABLE as error:
        raise Malformed(str(error)) from None
    found = Read()
    for part in parts:
        kind = _kind(memoryview(part))
        decode = _DECODE.get(kind)
        if decode is None:
            if kind < 0:
                found.malformed += 1
            else:
                found.unknown += 1
            continue
        try:
            found.messages.append(decode(part))
        except UNREADABLE:
            found.malformed += 1
    return found


def _kind(part: memoryview) -> int:
    """The kind of a message, from its first bytes; -1 if it is no list that begins with a small number."""
    if len(part) < 2:
        return -1
    first = part[0]
    if 0x91 <= first <= 0x9F:  # an array of 1 to 15
        kind = part[1]
    elif first == 0xDC and len(part) > 3:  # one of up to 65,535, as a future version may have it
        kind = part[3]
    else:
        return -1
    return kind if kind < 0x80 else -1


def joined(parts: Sequence[bytes]) -> bytes:
    """A body of encoded messages."""
    count = len(parts)
    head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(parts)


MOST_HEAD = 3
"""Bytes that a body has besides its messages, at most."""


def body_of(claim: Claim, kind: type[Any]) -> Any:
    """A claim's body, read as what it should be. Raises Malformed."""
    try:
        return msgspec.msgpack.decode(claim.body, type=kind)
    except UNREADABLE as error:
        raise Malformed(str(error)) from None


def kinds() -> Iterator[int]:
    """Every kind of message that is known."""
    yield from _DECODE
