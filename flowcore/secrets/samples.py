"""What is no secret: samples that everybody has read, and texts that nobody needs to guess.

This is the one list. A test looks for samples in this project's pages, examples, configurations and tests,
and fails for one that is missing here.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

_MAKE = "make one of your own, such as with: openssl rand -base64 32"

_ANOTHER = "make one of your own with: flowctl token NAME"

WORDS = frozenset(
    {
        *("secret", "changeme", "change-me", "change_me", "password", "passw0rd", "example"),
        *("sample", "admin", "hunter2", "letmein", "qwerty", "your-token", "your-key"),
        *("your-secret", "your_secret", "your-256-bit-secret", "my-secret", "mysecret", "s3cr3t"),
        *("topsecret", "top-secret", "supersecret", "super-secret", "insecure", "placeholder"),
        *("replace-me", "replaceme", "foobar", "secretkey", "secret-key", "secret_key"),
        *("a-string-secret-at-least-256-bits-long", "please-change-me", "keyboard cat"),
    }
)
"""Texts that stand for a secret in somebody's manual, in lower case."""

_BEGINNINGS = (
    "changeme",
    "change-me",
    "change_me",
    "your-256-bit-secret",
    "your-secret",
    "your_secret",
)

SECRETS = frozenset(
    {
        # SHA-256 of the secret's bytes. A static token's digest in a configuration is the same number.
        # RFC 7515 appendix A.1, the HS256 key: its bytes, and its text
        "c8ecc9361a05e285f04c26f9572131a6deab07e9e2b865053c6f75a4d8bd2b32",
        "8b1b17a9740c068accab5c3d0d652c8e3cc13206e70bb73b42ea41d4c2de3c12",
        # RFC 9421 appendix B.1.5, the shared secret: its bytes, and its text
        "57ca14d520f889be5bc6d9313b442f62a4a71d63fceac507c914683a8944b4a0",
        "dc524b946ccae61616618baefc80734d16f0a8b830cbcb152c4480c15c4da2ea",
    }
)
"""Secrets that were published: the SHA-256 digests of their bytes, in hex."""

PUBLIC_KEYS = frozenset(
    {
        # RFC 7515 appendix A.3, RFC 7517 appendix A.1 (P-256)
        "2bd1bb0c44a897c30a7aa0991cde38d8062fe441de50da0f46825344f602e827",
        "51b944cdfa544d4c3273aa6bf350625a7dd53bbb6a71723274f538b19a207760",
        # RFC 8032 section 7.1, tests 1 to 3 (Ed25519); the first is that of RFC 8037, too
        "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9",
        "deb2ded39dc26fce0e6085b6fc34bf6b5941913bbfe2ea614113cff9e004c170",
        "8d39ba50abe50f77b6bb8ae7b6927aff7ffbeba35ad2837c0e51e82bcbcc60d5",
        # RFC 9421 appendix B.1.4 (Ed25519)
        "34571606cb7a0d71be377e671ddcccae2a169ed7733598214129231cd30c4a3c",
        # the ES256 key of jwt.io
        "a40f0f2e2974dc76a82df6ffe08ed0d79955c79e7ad0c20d97ae8f9246ade1c1",
        # the certificates of CPython's own tests (Lib/test/certdata)
        "0a8b54336a8f109dbf0f1cf6f8ba46f9e31aeaf0c07af3fa56868f0487d895da",
        "3610893ac98cb708ebe91f3d7a7da48d9a15e9cd74ddca2976c4072ad5b9e5b4",
        "8064304dc78d97bb96dcf71c5edeb7abe8412efeab98972a9749df0ab065ad37",
        "990c02b92948ebe7dd937acf1ee7bda652aee927ae71dcaa027a28d8df0a23fe",
        "9e4456c9dc7098dc4330cc8f0f84f27f7771543758a68b03e93b2615a412eb4f",
        "a0eb5a3d1414086256cfd994b4afe2c759376087269d7cede24af0dd95c30ab6",
        "ab8e035b61375a026a577d38c424249b74b59795e8690aecf05fcf1c23e27998",
        "b27242ebec6d3db0ebbe05bb7c650a421ff90348629d3e0410bc7369b337d4fd",
        "be4c89ae84278a5efc10bd6bfa615e3f84b9a91110b17bb52ba6a351eaa14d4d",
        "c3e2fc4b8742a19c114912a4fcdd9d0c58e3481c6eb4ce447b778bb7edfdde83",
    }
)
"""Key pairs whose private half was published: the SHA-256 digests of the public half (DER), in hex."""

_LEAST_DIFFERENT = 8
"""Different bytes that a key of 32 or more has at the least; of random ones it has about 30."""


def refuse_sample(secret: str) -> None:
    """Raise ValueError for a text that was published as a sample, or is none that could be secret."""
    plain = secret.strip().lower()
    if plain in WORDS or fingerprint(secret.encode()) in SECRETS:
        raise ValueError(f"this secret is a sample that everybody knows; {_MAKE}")
    if len(secret) >= 8 and len(set(secret)) == 1:
        raise ValueError(f"this secret is one character over and over; {_MAKE}")


def refuse_sample_digest(digest: str) -> None:
    """Raise ValueError for the SHA-256 digest, in hex, of what `refuse_sample` refuses."""
    if digest in SECRETS or any(
        fingerprint(one.encode()) == digest for one in (*WORDS, "test", "")
    ):
        raise ValueError(f"this digest is that of a sample that everybody knows; {_ANOTHER}")


def refuse_weak_key(key: bytes, what: str = "the key") -> None:
    """Raise ValueError for the bytes of a key that are a sample, or follow a pattern."""
    text = key.decode("latin-1").strip().lower()
    if text in WORDS or text.startswith(_BEGINNINGS) or fingerprint(key) in SECRETS:
        raise ValueError(f"{what} is a sample that everybody knows; {_MAKE}")
    if len(set(key)) < min(_LEAST_DIFFERENT, len(key)) or _repeats(key) or _counts(key):
        raise ValueError(f"{what} is too simple: it follows a pattern; {_MAKE}")


def refuse_sample_key(public: bytes, what: str = "the key") -> None:
    """Raise ValueError for a key pair that was published, by its public key (SubjectPublicKeyInfo, DER)."""
    if fingerprint(public) in PUBLIC_KEYS:
        raise ValueError(
            f"{what} is a sample whose private key everybody has; make one of your own"
        )


def fingerprint(data: bytes) -> str:
    """As the lists have it."""
    return hashlib.sha256(data).hexdigest()


def _repeats(key: bytes) -> bool:
    """Whether it is a shorter text over and over."""
    return 0 < (key + key).find(key, 1) < len(key)


def _counts(key: bytes) -> bool:
    """Whether each byte is the one before and the same number more, as in 0, 1, 2, 3."""
    return len(key) > 2 and len({(b - a) % 256 for a, b in pairwise(key)}) == 1
