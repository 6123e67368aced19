"""Samples are refused: those of this project's own pages, configurations and tests, and others' ones."""

from __future__ import annotations

import base64
import binascii
import hashlib
import pathlib
import re
import secrets
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from flowcore.secrets import refuse_sample, refuse_sample_key, refuse_weak_key
from support.node import ROOT

SUFFIXES = (".md", ".toml", ".py", ".pem", ".key", ".json")
HERE = pathlib.Path(__file__)
PEM = re.compile(
    r"-----BEGIN (?:[A-Z ]*PRIVATE KEY|CERTIFICATE)-----.*?-----END [A-Z ]+-----", re.DOTALL
)
RFC_7515 = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"


@pytest.mark.parametrize("word", ["secret", "changeme", "ChangeMe", " password\n", "hunter2"])
def test_a_word_of_a_manual_is_no_secret(word: str) -> None:
    with pytest.raises(ValueError, match="a sample that everybody knows; make one"):
        refuse_sample(word)


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        b"k" * 32,
        b"ab" * 16,
        b"0123456789abcdef" * 2,
        bytes(range(32)),
        bytes(range(64, 0, -2)),
        b"changeme" + hashlib.sha256(b"as if by chance").digest(),
        b"your-256-bit-secret",
        base64.urlsafe_b64decode(RFC_7515 + "=="),
        RFC_7515.encode(),
    ],
)
def test_a_key_that_follows_a_pattern_or_was_published_is_none(key: bytes) -> None:
    with pytest.raises(ValueError, match="a sample that everybody knows|follows a pattern"):
        refuse_weak_key(key)


def test_random_keys_pass_in_every_form() -> None:
    for _ in range(1000):
        key = secrets.token_bytes(32)
        for text in (key, key.hex().encode(), base64.b64encode(key)):
            refuse_weak_key(text)
            refuse_sample(text.decode("latin-1"))


def test_the_key_pairs_of_standards_are_refused() -> None:
    private = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    with pytest.raises(ValueError, match="whose private key everybody has"):
        refuse_sample_key(_public(Ed25519PrivateKey.from_private_bytes(private)))
    refuse_sample_key(_public(Ed25519PrivateKey.generate()))


def _public(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def files() -> Iterator[pathlib.Path]:
    """What is given away with this. The keys that a cluster was tried with here are their maker's."""
    for folder in ("docs", "examples", "configs", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            tried = folder == "configs" and path.parent.name == "certs"
            if path.suffix in SUFFIXES and path != HERE and not tried:
                yield path
    yield ROOT / "README.md"


def test_no_key_that_is_shown_anywhere_here_would_be_taken() -> None:
    """What reads like 32 to 64 bytes in base64 or hex, or like a key's PEM, must be refused."""
    taken = []
    for path in files():
        text = path.read_text(errors="replace")
        for found in re.findall(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{42,90}={0,2}(?![\w+/=])", text):
            if (key := _random_bytes(found)) is not None and not _refused(key, found):
                taken.append((path.name, found))
        taken += [(path.name, pem[:60]) for pem in re.findall(PEM, text) if _taken(pem)]
    assert taken == [], (
        "put their fingerprints into flowcore/secrets/samples.py, or make them at run time"
    )


def _random_bytes(text: str) -> bytes | None:
    """What a text stands for, if that looks like chance; names, paths and digests in hex do not."""
    if re.fullmatch(r"[0-9a-f]+", text):
        key = bytes.fromhex(text) if len(text) in (64, 128) else b""
    else:
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        mixed = all(re.search(one, text) for one in ("[a-z]", "[A-Z]", "[0-9]"))
        words = re.search(r"[a-z]{9}|[A-Z]{9}|/.*/.*/", text)
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4)) if mixed and not words else b""
        except binascii.Error:
            return None
    return key if 32 <= len(key) <= 64 else None


def _refused(key: bytes, text: str) -> bool:
    for one in (key, text.encode()):
        try:
            refuse_weak_key(one)
        except ValueError:
            return True
    try:
        refuse_sample(text)
    except ValueError:
        return True
    return hashlib.sha256(key).hexdigest() == text


def _taken(pem: str) -> bool:
    """Whether a PEM is a key, or a certificate of one, that is not refused; made up ones are none."""
    try:
        if "PRIVATE KEY" in pem:
            public = load_pem_private_key(pem.encode(), None).public_key()
        else:
            public = load_pem_x509_certificate(pem.encode()).public_key()
    except (ValueError, TypeError):
        return False
    try:
        refuse_sample_key(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except ValueError:
        return False
    return True
