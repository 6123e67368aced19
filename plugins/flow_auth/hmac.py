"""`hmac`: signed requests (HMAC-SHA256), in flowcore's compact form (`flowcore.signing`) or that of RFC 9421.

Each is good for a minute, for one receiver, once. Keys are in a file of their own, which is read again when
it changes: a key that is taken out, retired or revoked is refused within a second.
"""

from __future__ import annotations

import datetime
import hmac
import os
import pathlib
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from flow_auth.watched import WatchedFile
from flowcore.config import Duration, Secret, setting
from flowcore.config import validators as v
from flowcore.errors import AssemblyError, Overloaded, Unauthenticated
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Request
from flowcore.requests import Principal
from flowcore.secrets import check_mode
from flowcore.signing import (
    SCHEME,
    Key,
    KeyRing,
    Malformed,
    Nonces,
    canonical,
    read_header,
    read_ring,
    signature_of,
)

COVERED = ("@method", "@authority", "@path", "@query")
_LONGEST = 4096
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_LIST = re.compile(rb"\([^)]*\)")
_PARAMETER = re.compile(rb";[ \t]*([a-z*][a-z0-9_.*-]*)")


@attrs.frozen(kw_only=True)
class HmacConfig:
    """Whose signatures are believed."""

    keys: pathlib.Path | Secret = setting(
        help="the key ring: a TOML file of mode 0600 with [[key]] tables, read again when it changes; or its"
        " text as a secret"
    )
    window: Duration = setting(
        60.0, validator=v.gt(0), help="how old, or ahead of our clock, a signature may be"
    )
    nonces: int = setting(
        100_000, validator=v.ge(1), help="most requests remembered so that none comes twice"
    )
    receivers: tuple[str, ...] = setting(
        (), help="URIs that requests may be meant for; unset: the URI of the edge they come by"
    )


class HmacScheme:
    """Who signed a request."""

    def __init__(
        self,
        config: HmacConfig,
        name: str,
        ring: Callable[[], KeyRing],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._name = name
        self._ring = ring
        self._clock = clock
        self._nonces = Nonces(config.window, config.nonces)

    challenge = SCHEME
    headers = (b"authorization", b"signature-input", b"signature")

    async def identify(self, request: Request, resource: str) -> Principal | None:
        """The owner of the key that signed it; None if it is not signed."""
        authorization = request.headers.get(b"authorization", b"")
        if authorization[: len(SCHEME) + 1].upper() == f"{SCHEME} ".encode():
            return self._compact(request, authorization, resource)
        if b"signature-input" in request.headers or b"signature" in request.headers:
            return self._standard(request, resource)
        return None

    # ---- the compact form

    def _compact(self, request: Request, value: bytes, resource: str) -> Principal:
        if b"authorization" in request.headers.repeated or len(value) > _LONGEST:
            raise Unauthenticated("the signature's header stands more than once, or is too long")
        try:
            signed = read_header(value.decode("latin-1"))
        except Malformed as error:
            raise Unauthenticated(str(error)) from None
        now = self._clock()
        self._in_window(signed.created, now)
        if signed.receiver not in (self._config.receivers or (resource,)):
            raise Unauthenticated("the request is signed for somebody else")
        key = self._key(signed.key, now)
        authority = request.headers.get(b"host", b"").decode("latin-1")
        try:
            message = canonical(request.method, authority, request.target, request.body, signed)
        except ValueError:
            raise Unauthenticated("the request cannot be signed as it is") from None
        if not hmac.compare_digest(signed.signature, signature_of(message, key.secret)):
            raise Unauthenticated("the signature is wrong")
        self._once(key, signed.nonce, signed.created, now)
        return self._principal(key)

    def _in_window(self, created: float, now: float) -> None:
        if abs(now - created) > self._config.window:
            raise Unauthenticated("the signature is too old, or of the future")

    def _key(self, id_: str, now: float) -> Key:
        key = self._ring().find(id_, now)
        if key is None:
            raise Unauthenticated("the request is signed by a key that is not active here")
        if self._nonces.full(now):
            raise Overloaded("too many signed requests at a time", retry_after=self._config.window)
        return key

    def _once(self, key: Key, nonce: str, created: float, now: float) -> None:
        if created <= self._nonces.forgotten:
            raise Unauthenticated("the request may have been made before: our clock has gone back")
        if not self._nonces.use(key.id, nonce, created, now):
            raise Unauthenticated("the request was made before: its nonce is used")

    def _principal(self, key: Key) -> Principal:
        return Principal(
            name=key.principal,
            scheme=self._name,
            roles=key.roles,
            scopes=key.scopes,
            credentials=(f"key:{key.id}",),
        )

    # ---- the form of RFC 9421

    def _standard(self, request: Request, resource: str) -> Principal:
        """Verified by http-message-signatures, told what it would not ask for itself: what must be
        covered, the body's digest, the window; and each nonce once, here."""
        from http_message_signatures import (
            HTTPMessageSignaturesException,
            HTTPMessageVerifier,
            HTTPSignatureKeyResolver,
            algorithms,
        )

        for name in (b"signature-input", b"signature", b"content-digest"):
            value = request.headers.get(name, b"")
            if name in request.headers.repeated or len(value) > _LONGEST:
                raise Unauthenticated("a signature's header stands more than once, or is too long")
        if _repeats(request.headers.get(b"signature-input", b"")):
            raise Unauthenticated("the signature has a parameter more than once")
        now = self._clock()
        receivers = self._config.receivers or (resource,)
        ring, found = self._ring(), []

        class Keys(HTTPSignatureKeyResolver):
            def resolve_public_key(self, key_id: str) -> bytes | None:
                key = ring.find(key_id, now)
                if key is None:
                    return None
                found.append(key)
                return key.secret

            def resolve_private_key(self, key_id: str) -> bytes:
                raise LookupError(key_id)

        if self._nonces.full(now):
            raise Overloaded("too many signed requests at a time", retry_after=self._config.window)
        verifier: Any = HTTPMessageVerifier(
            signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys()
        )
        verifier.max_clock_skew = datetime.timedelta(seconds=self._config.window)
        try:
            [result] = verifier.verify(
                _Message(request, resource),
                max_age=datetime.timedelta(0),
                require_components=COVERED,
                body=request.body,
            )
        except (HTTPMessageSignaturesException, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated(f"the signature is wrong: {str(error)[:200]}") from None
        parameters = result.parameters
        created, nonce, tag = (parameters.get(one) for one in ("created", "nonce", "tag"))
        if not isinstance(created, int) or not isinstance(nonce, str) or not 16 <= len(nonce) <= 64:
            raise Unauthenticated("the signature lacks created, or a nonce of 16 to 64 characters")
        if tag not in receivers:
            raise Unauthenticated("the signature's tag does not name this receiver")
        self._in_window(created, now)
        [key] = found
        self._once(key, nonce, created, now)
        return self._principal(key)


class _Message:
    """A request as http-message-signatures wants one."""

    def __init__(self, request: Request, resource: str) -> None:
        scheme = "https" if request.secure else "http"
        host = request.headers.get(b"host", b"").decode("latin-1")
        self.method = request.method
        self.url = f"{scheme}://{host}{request.target}"
        self.headers = {
            name.decode("latin-1"): ", ".join(
                one.decode("latin-1") for one in request.headers.getall(name)
            )
            for name in request.headers
        }
        del resource


def _repeats(signature_input: bytes) -> bool:
    """Whether a parameter comes twice: the last one counts (RFC 8941 section 4.2.3.2), and others may
    have looked at the first."""
    names = _PARAMETER.findall(_LIST.sub(b"", _TEXT.sub(b"", signature_input)))
    return len(set(names)) != len(names)


def read_private(path: pathlib.Path) -> Callable[[bytes], KeyRing]:
    """Reads a key ring whose file is for its owner only. Raises ValueError."""

    def read(data: bytes) -> KeyRing:
        check_mode(os.stat(path).st_mode)
        return read_ring(data)

    return read


@asynccontextmanager
async def open_hmac(config: HmacConfig, context: Context) -> AsyncGenerator[HmacScheme]:
    """Read the key ring. Raises AssemblyError if it cannot be used."""
    try:
        import http_message_signatures  # noqa: F401 - so that no request waits for it
    except ImportError as error:
        raise AssemblyError(
            f"the form of RFC 9421 needs http-message-signatures: {error}"
        ) from None
    name = context.name.partition(".")[2]
    yield HmacScheme(config, name, _ring(config.keys), clock=context.host.wall)


def _ring(keys: pathlib.Path | Secret) -> Callable[[], KeyRing]:
    """Gives the key ring of the moment. Raises AssemblyError."""
    if isinstance(keys, Secret):
        try:
            fixed = read_ring(keys.reveal().encode())
        except ValueError as error:
            raise AssemblyError(f"the key ring: {error}") from None
        return lambda: fixed
    return WatchedFile(keys, read_private(keys), "key ring").get


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("auth", "hmac", HmacConfig, open_hmac, stability="beta"))
