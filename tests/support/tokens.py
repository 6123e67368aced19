"""An issuer of tokens, right ones and wrong ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
AUDIENCE = "https://flow.example/mcp"


def b64(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@attrs.define(eq=False)
class SigningKey:
    """A private key of one algorithm, and its JWK."""

    algorithm: str
    kid: str | None = "k1"
    private: Any = None

    def __attrs_post_init__(self) -> None:
        if self.private is not None:
            return
        if self.algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif self.algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key."""
        made: Any = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}
        found = dict(made[self.algorithm].to_jwk(self.private.public_key(), as_dict=True))
        found |= {"alg": self.algorithm, "use": "sig"}
        return found if self.kid is None else found | {"kid": self.kid}

    def sign(self, data: bytes) -> bytes:
        """The signature in JWS form."""
        if self.algorithm == "EdDSA":
            return bytes(self.private.sign(data))
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return bytes(self.private.sign(data, PKCS1v15(), SHA256()))


def claims(**more: Any) -> dict[str, Any]:
    """Right claims; a member given as None is left out."""
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 300, **more}
    return {name: value for name, value in found.items() if value is not None}


def token(
    key: SigningKey | bytes,
    payload: dict[str, Any] | bytes | None = None,
    header: dict[str, Any] | bytes | None = None,
) -> bytes:
    """A token, signed; header and payload may be any bytes. A key of bytes is for HS256."""
    algorithm = "HS256" if isinstance(key, bytes) else key.algorithm
    head: dict[str, Any] = {"alg": algorithm, "typ": "at+jwt"}
    if isinstance(key, SigningKey) and key.kid is not None:
        head["kid"] = key.kid
    if not isinstance(header, bytes):
        head |= header or {}
        header = json.dumps({k: v for k, v in head.items() if v is not None}).encode()
    if not isinstance(payload, bytes):
        payload = json.dumps(claims() if payload is None else payload).encode()
    signed = b64(header) + b"." + b64(payload)
    if isinstance(key, SigningKey):
        return signed + b"." + b64(key.sign(signed))
    return signed + b"." + b64(hmac.new(key, signed, hashlib.sha256).digest())


def jwks(*keys: SigningKey) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": [one.jwk for one in keys]}).encode()
