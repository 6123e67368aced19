"""Sealed values: a secret that may stand in a configuration, since only the node's seal key opens it.

XChaCha20-Poly1305 (libsodium's AEAD through PyNaCl) with a random nonce of 24 bytes. What is authenticated
besides the secret is the setting that it is for, such as `auth.idp.secret`: moved to another one, it does not
open. The text is the base64 of

    version (1 byte) | id of the key (4) | digest of the setting (4) | nonce (24) | ciphertext and tag

where id and digest only make errors say what is wrong; that it is right the tag alone tells.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets

import attrs

from flowcore.secrets.samples import refuse_weak_key

_VERSION = b"\x01"
_KEY = 32
_ID = _PLACE = 4
_HEAD = len(_VERSION) + _ID + _PLACE
_NONCE, _TAG = 24, 16
_LINE = re.compile(r"[A-Za-z0-9+/]{43}=")


@attrs.frozen
class _Key:
    secret: bytes = attrs.field(repr=False)

    @property
    def id(self) -> bytes:
        """Tells keys apart, and nothing of what they are."""
        return hashlib.sha256(b"flowcore seal key\n" + self.secret).digest()[:_ID]


@attrs.frozen
class SealKeys:
    """The keys of a node: the first seals, every one of them opens."""

    keys: tuple[_Key, ...] = attrs.field(repr=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """The keys' ids, in hex."""
        return tuple(one.id.hex() for one in self.keys)

    def open(self, text: str, setting: str) -> str:
        """The secret that was sealed for this setting. Raises ValueError, which never holds it."""
        import nacl.exceptions
        import nacl.secret

        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the sealed value is not base64") from None
        if len(data) <= _HEAD + _NONCE + _TAG:
            raise ValueError("the sealed value is too short: a part of it is missing")
        if data[:1] != _VERSION:
            raise ValueError("the sealed value is of a form that this version does not know")
        id_, place = data[1 : 1 + _ID], data[1 + _ID : _HEAD]
        key = next((one for one in self.keys if one.id == id_), None)
        if key is None:
            known = ", ".join(self.ids)
            raise ValueError(
                f"the value is sealed with another key ({id_.hex()}) than the node has ({known})"
            )
        try:
            opened = nacl.secret.Aead(key.secret).decrypt(
                data[_HEAD + _NONCE :], _authenticated(data, setting), data[_HEAD : _HEAD + _NONCE]
            )
            return opened.decode()
        except nacl.exceptions.CryptoError:
            if place != _digest(setting):
                raise ValueError(
                    "the value is sealed for another setting; seal it again:"
                    f" flowctl seal --key FILE {setting}"
                ) from None
            raise ValueError("the sealed value was changed: it does not open") from None
        except UnicodeDecodeError:
            raise ValueError("what is sealed is not UTF-8 text") from None


def seal(secret: str, setting: str, keys: SealKeys) -> str:
    """A secret sealed for one setting (its dotted path), with the first of the keys, as base64."""
    import nacl.secret
    import nacl.utils

    key = keys.keys[0]
    head = _VERSION + key.id + _digest(setting)
    nonce = nacl.utils.random(_NONCE)
    box = nacl.secret.Aead(key.secret).encrypt(
        secret.encode(), _authenticated(head, setting), nonce
    )
    return base64.b64encode(head + nonce + box.ciphertext).decode()


def new_seal_key() -> str:
    """A new key: 32 random bytes as base64, a line of a key file."""
    return base64.b64encode(secrets.token_bytes(_KEY)).decode()


def read_seal_keys(text: str) -> SealKeys:
    """The keys of a text with one a line (`#` begins a comment). Raises ValueError saying what is wrong."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    keys = []
    for word in (word for line in lines for word in line.split()):
        if not _LINE.fullmatch(word):
            raise ValueError("expected seal keys of 32 bytes as base64, one a line")
        key = base64.b64decode(word)
        refuse_weak_key(key, "the seal key")
        keys.append(_Key(key))
    if not keys:
        raise ValueError("expected a seal key; make one with: flowctl seal --new-key FILE")
    return SealKeys(tuple(keys))


def _digest(setting: str) -> bytes:
    return hashlib.sha256(setting.encode()).digest()[:_PLACE]


def _authenticated(data: bytes, setting: str) -> bytes:
    return data[:_HEAD] + b"flowcore sealed\n" + setting.encode()
