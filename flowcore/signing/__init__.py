"""Signed requests: HMAC-SHA256 over all that matters of a request, each good once and for a minute.

    signer = Signer(KeyRing([Key(id="k1", secret=secret, principal="ann")]), receiver="https://flow.example/mcp")
    client = httpx.Client(auth=signer.auth())        # signs every request it sends

The server's side is the plugin `hmac`, which also takes RFC 9421's form from other clients.
"""

from flowcore.signing.form import SCHEME, Malformed, Signed, canonical, read_header, signature_of
from flowcore.signing.nonces import Nonces
from flowcore.signing.ring import Key, KeyRing, read_ring
from flowcore.signing.rotation import (
    keys_in,
    new_key,
    shown,
    with_end,
    with_keys,
    with_revoked,
    without,
)
from flowcore.signing.signer import Signer

__all__ = [
    "SCHEME",
    "Key",
    "KeyRing",
    "Malformed",
    "Nonces",
    "Signed",
    "Signer",
    "canonical",
    "keys_in",
    "new_key",
    "read_header",
    "read_ring",
    "shown",
    "signature_of",
    "with_end",
    "with_keys",
    "with_revoked",
    "without",
]
