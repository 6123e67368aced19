"""What is signed, and how it is checked: Ed25519 over a statement of fixed form.

    "flow bft 1\\0" | kind u8 | cluster 32 | epoch u64 | height u64 | view u32 | valid i32 | digest 32

All numbers are big-endian. So no signature of one cluster, epoch, height, view or kind means anything in
another one: a statement has one form, of 100 bytes. `cluster` is a digest of the cluster's name and its
first voters with their keys.

A signature is checked once: what was found good is remembered. libsodium takes no signature that was changed
without its key (RFC 8032 section 5.1.7, and s < L), so a good one cannot be made into another good one.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

DIGEST = 32
"""Bytes of a digest (BLAKE2b)."""
SIGNATURE = 64
NIL = bytes(DIGEST)
"""The digest that a vote for nothing names."""
NO_VIEW = -1
"""No valid view: `validRound` of a new proposal, and what all else says there."""

PREFIX = b"flow bft 1\0"
_STATEMENT = struct.Struct(">B32sQQIi32s")
_CHECKED = 50_000
"""Signatures whose goodness is remembered."""

Sign = Callable[[bytes], bytes]
"""An Ed25519 signature (64 bytes) of this node's."""


class Kind(enum.IntEnum):
    """What a statement is."""

    PROPOSAL = 1
    PREVOTE = 2
    PRECOMMIT = 3
    CHECKPOINT = 4
    REQUEST = 5
    CHANGE = 6


def digest(domain: bytes, *parts: bytes) -> bytes:
    """BLAKE2b of parts, each with its length before it, under a domain of its own."""
    made = hashlib.blake2b(domain + b"\0", digest_size=DIGEST)
    for part in parts:
        made.update(len(part).to_bytes(8, "big"))
        made.update(part)
    return made.digest()


def statement(
    kind: Kind,
    cluster: bytes,
    epoch: int,
    height: int,
    view: int,
    valid: int,
    subject: bytes,
) -> bytes:
    """The bytes that are signed."""
    return PREFIX + _STATEMENT.pack(kind, cluster, epoch, height, view, valid, subject)


class Scheme(Protocol):
    """A way to check signatures."""

    def verify(self, key: bytes, said: bytes, signature: bytes) -> bool:
        """Whether the owner of a public key has signed it."""
        ...


class Ed25519:
    """RFC 8032, by libsodium. Its keys are read once."""

    def __init__(self) -> None:
        self._keys: dict[bytes, VerifyKey] = {}

    def verify(self, key: bytes, said: bytes, signature: bytes) -> bool:
        """Whether the owner of a public key (32 bytes) has signed it (64 bytes)."""
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = VerifyKey(key)
        try:
            found.verify(said, signature)
        except (BadSignatureError, ValueError):
            return False
        return True


@attrs.frozen
class Claim:
    """Somebody is said to have signed something."""

    key: bytes
    said: bytes
    signature: bytes


class Signatures:
    """Checks of signatures, each done once."""

    def __init__(self, scheme: Scheme, most: int = _CHECKED) -> None:
        self._scheme = scheme
        self._most = most
        self._good: OrderedDict[Claim, None] = OrderedDict()
        self.checked = 0
        """How often a signature was computed, and not remembered."""

    def knows(self, claim: Claim) -> bool:
        """Whether it was found good before."""
        return claim in self._good

    def holds(self, claim: Claim) -> bool:
        """Whether it is good."""
        if claim in self._good:
            return True
        self.checked += 1
        if len(claim.signature) != SIGNATURE or not self._scheme.verify(
            claim.key, claim.said, claim.signature
        ):
            return False
        self._remember(claim)
        return True

    def check(self, claims: Iterable[Claim]) -> list[Claim]:
        """Those that are good; touches nothing here, so a thread may do it."""
        return [
            one
            for one in claims
            if len(one.signature) == SIGNATURE
            and self._scheme.verify(one.key, one.said, one.signature)
        ]

    def admit(self, claims: Iterable[Claim]) -> None:
        """These were found good by `check`."""
        for claim in claims:
            self.checked += 1
            self._remember(claim)

    def own(self, claim: Claim) -> None:
        """This node has signed it itself."""
        self._remember(claim)

    def _remember(self, claim: Claim) -> None:
        self._good[claim] = None
        if len(self._good) > self._most:
            self._good.popitem(last=False)
