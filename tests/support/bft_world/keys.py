"""Signatures: real ones, or a keyed hash for each identity, which is a hundred times as fast.

What is signed with a keyed hash is told by the ring that holds all keys. A liar gets to sign in its own name
alone, so it can forge nothing, as little as it could forge Ed25519.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

Sign = Callable[[bytes], bytes]


class Ring(Protocol):
    """Keys of all nodes."""

    public: dict[str, bytes]
    """By name: 32 bytes."""

    def signer(self, name: str) -> Sign:
        """Signs in the name of a node: 64 bytes."""
        ...

    def verify(self, key: bytes, said: bytes, signature: bytes) -> bool:
        """Whether the owner of a public key has signed it."""
        ...


class HashRing:
    """Keyed BLAKE2b."""

    def __init__(self, names: Iterable[str], seed: int) -> None:
        self._secrets = {
            name: hashlib.blake2b(f"{seed} {name} secret".encode(), digest_size=32).digest()
            for name in names
        }
        self.public = {
            name: hashlib.blake2b(b"public" + secret, digest_size=32).digest()
            for name, secret in self._secrets.items()
        }
        self._owners = {self.public[name]: secret for name, secret in self._secrets.items()}

    def signer(self, name: str) -> Sign:
        secret = self._secrets[name]
        return lambda said: hashlib.blake2b(said, key=secret).digest()

    def verify(self, key: bytes, said: bytes, signature: bytes) -> bool:
        secret = self._owners.get(key)
        return secret is not None and hashlib.blake2b(said, key=secret).digest() == signature


class RealRing:
    """Ed25519, by libsodium."""

    def __init__(self, names: Iterable[str], seed: int) -> None:
        self._keys = {
            name: SigningKey(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=32).digest())
            for name in names
        }
        self.public = {name: key.verify_key.encode() for name, key in self._keys.items()}

    def signer(self, name: str) -> Sign:
        key = self._keys[name]
        return lambda said: key.sign(said).signature

    def verify(self, key: bytes, said: bytes, signature: bytes) -> bool:
        try:
            VerifyKey(key).verify(said, signature)
        except (BadSignatureError, ValueError):
            return False
        return True
