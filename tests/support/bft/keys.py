"""Keys of nodes in tests: the same for the same name in each run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from nacl.signing import SigningKey

from flow_consensus.bft import Epoch


def signing_key(name: str) -> SigningKey:
    """A node's private key."""
    return SigningKey(hashlib.blake2b(name.encode(), digest_size=32).digest())


def public_key(name: str) -> bytes:
    """A node's public key (32 bytes)."""
    return bytes(signing_key(name).verify_key)


class Signer:
    """Signs as a node."""

    def __init__(self, name: str) -> None:
        self._key = signing_key(name)
        self.count = 0

    def __call__(self, data: bytes) -> bytes:
        self.count += 1
        return self._key.sign(data).signature


def genesis(names: Iterable[str], *, exclude: bool = False, checkpoint: int = 10_000) -> Epoch:
    """The first epoch of these voters."""
    keys = {name: public_key(name) for name in names}
    return Epoch.first(keys, exclude=exclude, checkpoint=checkpoint)
