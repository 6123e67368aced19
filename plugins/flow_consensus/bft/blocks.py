"""What is decided: blocks of requests, each request signed by the node that asked.

A block names its predecessor by digest, so a block's digest stands for the whole log up to it. Its bytes
are MessagePack in one form only: bytes that are not what their meaning is written as are refused, so one
block has one digest.

The log of a block is 1 + k entries: its head, which changes nothing, and its k commands.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from flow_consensus.bft.epochs import MOST_MEMBERS, Count, Digest, Member, Name
from flow_consensus.bft.signing import NO_VIEW, SIGNATURE, Kind, digest, statement
from flow_consensus.pieces import BadMessage

MOST_BLOCK = 48 * 2**20
"""Bytes of a block; more are refused unread."""
MOST_REQUEST = 33 * 2**20
"""Bytes of the commands of one request."""
MOST_COMMANDS = 10_000
"""Commands of one request."""

View: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Valid: TypeAlias = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
Height: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**56)]
Sequence: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Signature: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE, max_length=SIGNATURE)]


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Commands of one node, in their order.

    The numbers of one boot of a node are 1, 2, 3, ...; a block takes only the next one, or the first of a
    later boot: so none is left out, and none is taken twice.
    """

    origin: Name
    boot: Count
    number: Sequence
    commands: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MOST_COMMANDS)]
    signature: Signature

    @property
    def size(self) -> int:
        """Bytes of its commands."""
        return sum(map(len, self.commands))


def request_statement(cluster: bytes, request: Request) -> bytes:
    """What its origin signs; it belongs to no epoch, for it may outlast one while it waits."""
    subject = digest(b"flow bft request", request.origin.encode(), *request.commands)
    return statement(Kind.REQUEST, cluster, 0, request.boot, request.number, NO_VIEW, subject)


class Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A statement, who makes it, and the proof."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=6)]
    epoch: Count
    height: Height
    view: View
    valid: Valid
    """Of a proposal: the view in which it got a quorum of prevotes before; else -1."""
    digest: Digest
    signer: Name
    signature: Signature

    def statement(self, cluster: bytes) -> bytes:
        """The bytes that are signed."""
        return statement(
            Kind(self.kind), cluster, self.epoch, self.height, self.view, self.valid, self.digest
        )


class Evidence(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Two statements of one voter, of which an honest one makes only one."""

    first: Signed
    second: Signed

    @property
    def accused(self) -> str:
        return self.first.signer

    def impossible(self) -> str:
        """Why this proves nothing, whatever the signatures are; empty if it may."""
        first, second = self.first, self.second
        if first.kind not in (Kind.PROPOSAL, Kind.PREVOTE, Kind.PRECOMMIT):
            return f"kind {first.kind}"
        if (first.kind, first.epoch, first.height, first.view, first.signer) != (
            second.kind,
            second.epoch,
            second.height,
            second.view,
            second.signer,
        ):
            return "two statements that do not exclude each other"
        if (first.digest, first.valid) >= (second.digest, second.valid):
            return "the same statement twice, or the greater one first"
        return ""


def evidence_of(one: Signed, other: Signed) -> Evidence:
    """The same evidence, whichever came first."""
    first, second = sorted((one, other), key=lambda said: (said.digest, said.valid))
    return Evidence(first, second)


class Endorsement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A voter's signature under a change."""

    signer: Name
    signature: Signature


class Change(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A change of who takes part, wanted by the operators of f + 1 voters: by an honest one's among them."""

    epoch: Count
    """The one that it changes; it means nothing in any other."""
    add: Annotated[list[Member], msgspec.Meta(max_length=MOST_MEMBERS)]
    remove: Annotated[list[Name], msgspec.Meta(max_length=MOST_MEMBERS)]
    endorsements: Annotated[list[Endorsement], msgspec.Meta(max_length=MOST_MEMBERS)]

    @property
    def digest(self) -> bytes:
        """Of what is wanted."""
        return digest(
            b"flow bft change", msgspec.msgpack.encode((self.epoch, self.add, self.remove))
        )


def change_statement(cluster: bytes, change: Change) -> bytes:
    """What those sign who want it."""
    return statement(Kind.CHANGE, cluster, change.epoch, 0, 0, NO_VIEW, change.digest)


class Block(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is decided at one height."""

    cluster: Digest
    epoch: Count
    height: Annotated[int, msgspec.Meta(ge=1, le=2**56)]
    view: View
    """The view in which it was made; it may be decided in a later one."""
    creator: Name
    parent: Digest
    """The digest of the block before; 32 zero bytes before the first."""
    position: Annotated[int, msgspec.Meta(ge=1, le=2**56)]
    """Of its head in the log."""
    requests: list[Request]
    changes: Annotated[list[Change], msgspec.Meta(max_length=1)]
    evidence: Annotated[list[Evidence], msgspec.Meta(max_length=MOST_MEMBERS)]

    @property
    def commands(self) -> list[bytes]:
        return [command for request in self.requests for command in request.commands]

    @property
    def last(self) -> int:
        """The position of its last entry."""
        return self.position + sum(len(request.commands) for request in self.requests)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Block)


def encode_block(block: Block) -> bytes:
    """A block as bytes."""
    return _ENCODER.encode(block)


def decode_block(data: bytes) -> Block:
    """Bytes as a block. Raises BadMessage, also for another form of the same meaning."""
    if len(data) > MOST_BLOCK:
        raise BadMessage(f"a block of {len(data)} bytes, and {MOST_BLOCK} are the most")
    try:
        block = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"no block: {error}") from None
    if _ENCODER.encode(block) != data:
        raise BadMessage("a block in a form that no node writes")
    return block


def block_digest(data: bytes) -> bytes:
    """What stands for a block, by its bytes."""
    return digest(b"flow bft block", data)
