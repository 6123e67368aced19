"""A block in the log: its head, and an entry for each command, all with its height for their term.

    head      1 (u8) | MessagePack of `Head`
    command   2 (u8) | bytes

A head holds the certificate of the block before, as this node has it: that of the last block is in the hard
state. The commands are stored once, in their own entries; a block's bytes are put together again from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import msgspec

from flow_consensus.bft.blocks import (
    Block,
    Change,
    Evidence,
    Request,
    block_digest,
    encode_block,
)
from flow_consensus.bft.messages import Certificate
from flowcore.errors import UntrustedFile
from flowcore.state import LogEntry

_HEAD, _COMMAND = b"\x01", b"\x02"


class _Asked(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A request, whose commands are the next `count` entries."""

    origin: str
    boot: int
    number: int
    count: int
    signature: bytes


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block without its commands."""

    cluster: bytes
    epoch: int
    height: int
    view: int
    creator: str
    parent: bytes
    position: int
    requests: list[_Asked]
    changes: list[Change]
    evidence: list[Evidence]
    certificate: Certificate | None
    """Of the block before; None before the first, and after a snapshot."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Head)


def entries_of(block: Block, parent: Certificate | None) -> list[LogEntry]:
    """The entries of a block, with the certificate of the one before."""
    head = Head(
        block.cluster,
        block.epoch,
        block.height,
        block.view,
        block.creator,
        block.parent,
        block.position,
        [
            _Asked(one.origin, one.boot, one.number, len(one.commands), one.signature)
            for one in block.requests
        ],
        block.changes,
        block.evidence,
        parent,
    )
    made = [LogEntry(block.position, block.height, _HEAD + _ENCODER.encode(head))]
    made += [
        LogEntry(at, block.height, _COMMAND + command)
        for at, command in enumerate(block.commands, start=block.position + 1)
    ]
    return made


def command_of(data: bytes) -> bytes:
    """What was proposed; empty for the head of a block."""
    return data[1:] if data[:1] == _COMMAND else b""


def is_head(data: bytes) -> bool:
    """Whether an entry begins a block."""
    return data[:1] == _HEAD


def described(data: bytes) -> str:
    """What a head is, for a person; empty for a command."""
    if not is_head(data):
        return ""
    head = _head(data)
    said = f"block {head.height} of epoch {head.epoch}, made by {head.creator} in view {head.view}"
    for change in head.changes:
        said += f"; joins: {[one.name for one in change.add]}, leaves: {change.remove}"
    for one in head.evidence:
        said += f"; {one.accused} has contradicted itself"
    return said


def _head(data: bytes) -> Head:
    try:
        return _DECODER.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UntrustedFile(f"the head of a block cannot be read: {error}") from None


@attrs.frozen
class StoredBlock:
    """A block as it was read from a log."""

    block: Block
    data: bytes
    digest: bytes
    parent: Certificate | None
    """The certificate of the block before it, if it was known."""


def blocks_of(entries: Iterable[LogEntry]) -> list[StoredBlock]:
    """The whole blocks among entries that begin with a head. Raises UntrustedFile."""
    found: list[StoredBlock] = []
    held = list(entries)
    at = 0
    while at < len(held):
        first = held[at]
        if not is_head(first.data):
            raise UntrustedFile(f"entry {first.position} is no head of a block")
        head = _head(first.data)
        end = at + 1 + sum(one.count for one in head.requests)
        if end > len(held):
            break
        found.append(_joined(head, held[at + 1 : end], first))
        at = end
    return found


def _joined(head: Head, commands: Sequence[LogEntry], first: LogEntry) -> StoredBlock:
    if (head.position, head.height) != (first.position, first.term):
        raise UntrustedFile(
            f"entry {first.position} is the head of block {head.height} at {head.position}"
        )
    requests = []
    at = 0
    for one in head.requests:
        own = [command_of(entry.data) for entry in commands[at : at + one.count]]
        requests.append(Request(one.origin, one.boot, one.number, own, one.signature))
        at += one.count
    block = Block(
        head.cluster,
        head.epoch,
        head.height,
        head.view,
        head.creator,
        head.parent,
        head.position,
        requests,
        head.changes,
        head.evidence,
    )
    data = encode_block(block)
    return StoredBlock(block, data, block_digest(data), head.certificate)
