"""Checks what was decided without the engine: its digests and certificates, from the bytes on a disk alone.

It is written from the description of the formats, and shares no code with the engine: what the engine takes
for a certificate by mistake, this does not.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

Verify = Callable[[bytes, bytes, bytes], bool]
NIL = bytes(32)
PROPOSAL, PREVOTE, PRECOMMIT = 1, 2, 3


Form = Callable[[int, bytes, int, int, int, int, bytes], bytes]
"""What is signed, of kind, cluster, epoch, height, view, valid view and digest."""


class Voters(NamedTuple):
    """Who decides a height."""

    cluster: bytes
    epoch: int
    names: tuple[str, ...]
    """In order."""
    keys: Mapping[str, bytes]

    @property
    def quorum(self) -> int:
        """The least number of which any two sets share more voters than may lie."""
        count = len(self.names)
        most = (count - 1) // 3
        return next(some for some in range(count + 1) if 2 * some - count > most)


class Decision(NamedTuple):
    """A block as it stands in a log."""

    height: int
    position: int
    digest: bytes
    parent: bytes
    commands: tuple[bytes, ...]
    before: list[Any] | None
    """The certificate of the block before."""


def statement(
    kind: int, cluster: bytes, epoch: int, height: int, view: int, valid: int, digest: bytes
) -> bytes:
    """What is signed: 100 bytes."""
    fixed = struct.pack(">B32sQQIi32s", kind, cluster, epoch, height, view, valid, digest)
    return b"flow bft 1\0" + fixed


def block_digest(data: bytes) -> bytes:
    """BLAKE2b of a block's bytes."""
    said = b"flow bft block\0" + len(data).to_bytes(8, "big") + data
    return hashlib.blake2b(said, digest_size=32).digest()


def entries_in(data: bytes) -> int:
    """How many entries a block has whose head this is; 0 for what is no head."""
    if data[:1] != b"\x01":
        return 0
    commands: int = sum(one[3] for one in msgspec.msgpack.decode(data[1:])[7])
    return 1 + commands


def certificate_in(data: bytes) -> list[Any] | None:
    """The certificate of the block before, in a head."""
    found: list[Any] | None = msgspec.msgpack.decode(data[1:])[10]
    return found


def decision(entries: Sequence[Any]) -> Decision:
    """A block, from the entries of a log that it is. Raises ValueError.

    A head is a block whose requests have the number of their commands in the place of them, and then the
    certificate of the block before.
    """
    head, *rest = entries
    if head.data[:1] != b"\x01" or any(one.data[:1] != b"\x02" for one in rest):
        raise ValueError(f"the entries from {head.position} on are no block")
    *block, before = msgspec.msgpack.decode(head.data[1:])
    commands = [one.data[1:] for one in rest]
    at = 0
    for request in block[7]:
        count = request[3]
        request[3] = commands[at : at + count]
        at += count
    if at != len(commands) or block[6] != head.position or block[2] != head.term:
        raise ValueError(f"the block at {head.position} does not stand where it belongs")
    digest = block_digest(msgspec.msgpack.encode(block))
    return Decision(block[2], block[6], digest, block[5], tuple(commands), before)


def why_no_certificate(
    certificate: Any,
    kind: int,
    height: int,
    digest: bytes,
    voters: Voters,
    verify: Verify,
    form: Form = statement,
) -> str:
    """Why a certificate does not show that a quorum has said so; empty if it does.

    `certificate` is [kind, epoch, height, view, digest, [[place, signature], ...]].
    """
    if certificate is None:
        return "there is none"
    said_kind, epoch, said_height, view, said_digest, signatures = certificate
    if (said_kind, said_height, said_digest) != (kind, height, digest):
        return f"it is of kind {said_kind}, height {said_height}, {said_digest.hex()[:8]}"
    if epoch != voters.epoch:
        return f"it is of epoch {epoch}, and {voters.epoch} decides"
    said = form(kind, voters.cluster, epoch, height, view, -1, digest)
    signers = set()
    for place, signature in signatures:
        name = voters.names[place] if place < len(voters.names) else ""
        if not name or not verify(voters.keys[name], said, signature):
            return f"signature {place} does not hold"
        signers.add(name)
    if len(signers) < voters.quorum:
        return f"{len(signers)} have signed, and {voters.quorum} are a quorum"
    return ""
