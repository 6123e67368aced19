"""The compact form: one Authorization header, and what its signature covers. Sans-IO.

    Authorization: FLOW-HMAC-SHA256 keyid="k1", created=1795000000, nonce="Zm9v…", receiver="https://…",
        signature="…"

The signature is the HMAC-SHA256, in base64url without padding, of these lines: the scheme, method, authority,
target (path and query as they are sent), the SHA-256 of the body in hex, created, nonce, key id, receiver.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

import attrs

from flowcore.errors import FlowError

SCHEME = "FLOW-HMAC-SHA256"
_TEXT = r"[\x21\x23-\x5b\x5d-\x7e]"
_HEADER = re.compile(
    rf'FLOW-HMAC-SHA256 keyid="({_TEXT}{{1,128}})", created=([0-9]{{1,12}}),'
    r' nonce="([A-Za-z0-9_-]{16,64})",'
    rf' receiver="({_TEXT}{{1,512}})", signature="([A-Za-z0-9_-]{{43}})"',
    re.ASCII,
)


class Malformed(FlowError):
    """A signature's header that is none."""


@attrs.frozen(kw_only=True)
class Signed:
    """What a signed request says of its signature. `created` is in seconds since the epoch."""

    key: str
    created: int
    nonce: str
    receiver: str
    signature: bytes = b""

    def header(self) -> str:
        """The Authorization header's value."""
        signature = base64.urlsafe_b64encode(self.signature).rstrip(b"=").decode()
        return (
            f'{SCHEME} keyid="{self.key}", created={self.created}, nonce="{self.nonce}",'
            f' receiver="{self.receiver}", signature="{signature}"'
        )


def read_header(value: str) -> Signed:
    """Read an Authorization header's value of this scheme; it has one spelling only. Raises Malformed."""
    match = _HEADER.fullmatch(value)
    if match is None:
        raise Malformed("the signature's header is malformed")
    key, created, nonce, receiver, text = match.groups()
    try:
        signature = base64.b64decode(text + "=", b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("the signature is not base64url") from None
    signed = Signed(
        key=key, created=int(created), nonce=nonce, receiver=receiver, signature=signature
    )
    if signed.header() != value:  # zeros before a number, or bits after the signature's end
        raise Malformed("the signature's header has another spelling")
    return signed


def canonical(method: str, authority: str, target: str, body: bytes, signed: Signed) -> bytes:
    """What is signed. No part may hold a line break, so that none can pass for another.

    Raises ValueError if one does.
    """
    parts = (
        SCHEME,
        method,
        authority.lower(),
        target,
        hashlib.sha256(body).hexdigest(),
        str(signed.created),
        signed.nonce,
        signed.key,
        signed.receiver,
    )
    for part in parts:
        if not part.isascii() or not part.isprintable():
            raise ValueError(
                f"expected visible ASCII in every part of a signed request, not {part!r}"
            )
    return "\n".join(parts).encode()


def signature_of(message: bytes, secret: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104): 32 bytes."""
    return hmac.new(secret, message, hashlib.sha256).digest()
