"""The client's side: signs requests, whatever sends them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from flowcore.signing.form import Signed, canonical, signature_of
from flowcore.signing.ring import KeyRing

if TYPE_CHECKING:
    import httpx


class Signer:
    """Signs requests to one receiver, with the newest active key of a ring.

    `receiver` is the URI of the edge that the requests are for: it, and nobody else, will take them.
    """

    def __init__(
        self, ring: KeyRing, receiver: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._ring = ring
        self._receiver = receiver
        self._clock = clock

    def authorization(self, method: str, url: str, body: bytes = b"") -> str:
        """The Authorization header's value for a request to an absolute URL, as it is sent.

        Raises LookupError if no key is active.
        """
        parts = urlsplit(url)
        authority = parts.netloc.rpartition("@")[2]
        default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
        authority = authority.removesuffix(default) if default else authority
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        now = self._clock()
        key = self._ring.newest(now)
        signed = Signed(
            key=key.id,
            created=int(now),
            nonce=secrets.token_urlsafe(18),
            receiver=self._receiver,
        )
        message = canonical(method, authority, target, body, signed)
        return attrs.evolve(signed, signature=signature_of(message, key.secret)).header()

    def auth(self) -> httpx.Auth:
        """An `auth` for httpx clients, sync and async. httpx is needed, and imported here."""
        import httpx

        signer = self

        class SignedAuth(httpx.Auth):
            requires_request_body = True

            def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, Any, None]:
                url = str(request.url)
                request.headers["Authorization"] = signer.authorization(
                    request.method, url, request.content
                )
                yield request

        return SignedAuth()
