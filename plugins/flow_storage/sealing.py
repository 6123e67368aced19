"""Encryption at rest: what an entry or a piece of a snapshot holds, sealed for the place where it stands.

XChaCha20-Poly1305 (libsodium's AEAD through PyNaCl) with a random nonce of 24 bytes. The log's identity and
the place (position and term of an entry, number of a piece) are authenticated with it, so that what is moved,
or put in from another log, does not open.

    nonce (24 bytes) | ciphertext and tag
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from flowcore.errors import UntrustedFile
from flowcore.secrets import SealKeys, read_seal_keys

NONCE, TAG = 24, 16
PLAIN = 0
"""The number of no key."""

_encode = msgspec.msgpack.Encoder().encode


class Seals:
    """The keys of a log: the first seals, every one of them opens. Without keys nothing is sealed."""

    def __init__(self, keys: SealKeys | None = None) -> None:
        self._keys: dict[int, bytes] = {}
        self.current = PLAIN
        """The number of the key that seals."""
        for key in () if keys is None else keys.keys:
            self._keys[int.from_bytes(key.id, "big")] = key.secret
        if self._keys:
            self.current = next(iter(self._keys))
            import nacl.bindings

            self._encrypt = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt
            self._decrypt = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt
            self._failure = nacl.exceptions.CryptoError

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, used: Sequence[int], path: object) -> None:
        """Whether all that a file was sealed with is there. Raises UntrustedFile, with what is missing."""
        missing = [one for one in used if one not in self._keys]
        if not missing:
            return
        names = ", ".join(map(named, missing))
        if not self._keys:
            raise UntrustedFile(
                f"{path} is encrypted with key {names}, and none is configured: set [storage] key"
            )
        known = ", ".join(map(named, self._keys))
        raise UntrustedFile(
            f"{path} is encrypted with key {names}, and the keys that are configured are {known}"
        )

    def seal(self, data: bytes, *place: str | int) -> bytes:
        """The bytes that stand in the file, sealed with the first key; as they are without one."""
        if not self._keys:
            return data
        nonce = os.urandom(NONCE)
        return nonce + self._encrypt(data, _encode(place), nonce, self._keys[self.current])

    def open(self, data: bytes, key: int, *place: str | int) -> bytes:
        """What was sealed for a place. Raises UntrustedFile."""
        if key == PLAIN:
            return data
        self.check((key,), "the log")
        try:
            return self._decrypt(data[NONCE:], _encode(place), data[:NONCE], self._keys[key])
        except self._failure:
            raise UntrustedFile(
                f"what stands at {' '.join(map(str, place[1:]))} of the log does not open with key"
                f" {named(key)}: it was changed, or is of another place"
            ) from None


def named(key: int) -> str:
    """A key's number as it is shown: its id, which `flowctl seal` prints."""
    return f"{key:08x}"


def seals_of(text: str | None) -> Seals:
    """The keys of a text, one a line; None for none. Raises ValueError."""
    return Seals() if text is None else Seals(read_seal_keys(text))
