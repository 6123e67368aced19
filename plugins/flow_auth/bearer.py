"""Bearer tokens in the Authorization header (RFC 6750 section 2.1); nowhere else, least of all in a URL."""

from __future__ import annotations

import re

from flowcore.errors import Unauthenticated
from flowcore.http import Request

CHALLENGE = "Bearer"
HEADERS = (b"authorization",)
_BEARER = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)


def bearer(request: Request) -> bytes | None:
    """The token of a request; None if it brings credentials of another kind, or none.

    Raises Unauthenticated for an Authorization header that comes twice, or a malformed token.
    """
    value = request.headers.get(b"authorization")
    if value is None:
        return None
    if b"authorization" in request.headers.repeated:
        raise Unauthenticated("the header Authorization stands more than once")
    if value[:7].lower() != b"bearer ":
        return None
    match = _BEARER.fullmatch(value)
    if match is None:
        raise Unauthenticated("the bearer token is malformed")
    return match[1]
