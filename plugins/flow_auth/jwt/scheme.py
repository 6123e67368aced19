"""The scheme: takes the token out of a request, and remembers for a while what it found good."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from flow_auth.bearer import CHALLENGE, HEADERS, bearer
from flow_auth.jwt.keys import FileKeys, FixedKeys, KeySource, UrlKeys, secret_key
from flow_auth.jwt.settings import JwtConfig
from flow_auth.jwt.verify import KeySet, UnknownKey, Verified, Verifier
from flow_auth.watched import LARGEST, WatchedFile
from flowcore.hookspecs import Context
from flowcore.http import Request, open_client
from flowcore.requests import Principal

_REMEMBERED = 10_000


class JwtScheme:
    """Who a bearer token says that asks."""

    challenge = CHALLENGE
    headers = HEADERS

    def __init__(
        self,
        config: JwtConfig,
        name: str,
        keys: KeySource,
        revoked: WatchedFile[frozenset[str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = Verifier(config, name)
        self._cache = config.cache
        self._keys = keys
        self._revoked = revoked
        self._clock = clock
        self._good: dict[bytes, tuple[Verified, float, KeySet]] = {}
        self.authorization_servers = config.authorization_servers or (config.issuer,)
        self.scopes = config.scopes

    async def identify(self, request: Request, resource: str) -> Principal | None:
        """The principal of a bearer token that looks like a JWT; None if there is none."""
        token = bearer(request)
        if token is None or token.count(b".") < 2:
            return None
        now = self._clock()
        keys = await self._keys.get()
        revoked: frozenset[str] = self._revoked.get() if self._revoked is not None else frozenset()
        digest = hashlib.sha256(b"%b\0%b" % (token, resource.encode())).digest()
        known = self._good.get(digest)
        if known is not None:
            verified, until, by = known
            if now < until and by is keys and verified.id not in revoked:
                return verified.principal
            del self._good[digest]
        try:
            verified = self._verifier.verify(token, keys, resource, now, revoked)
        except UnknownKey:
            keys = await self._keys.again()
            verified = self._verifier.verify(token, keys, resource, now, revoked)
        if len(self._good) >= _REMEMBERED:
            self._good.clear()
        self._good[digest] = verified, min(verified.expires, now + self._cache), keys
        return verified.principal


def read_revoked(data: bytes) -> frozenset[str]:
    """Token ids, one a line; empty lines and those that begin with # say nothing. Raises ValueError."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    return frozenset(one.strip() for one in lines if one.strip() and not one.startswith("#"))


@asynccontextmanager
async def open_scheme(config: JwtConfig, context: Context) -> AsyncGenerator[JwtScheme]:
    """Keys from where the configuration says. Raises AssemblyError for files that cannot be used."""
    name = context.name.partition(".")[2]
    wall, revoked = context.host.wall, None
    if config.revoked is not None:
        revoked = WatchedFile(config.revoked, read_revoked, "revocation list")
    if config.secret is not None:
        yield JwtScheme(
            config, name, FixedKeys(secret_key(config.secret.reveal())), revoked, clock=wall
        )
        return
    if config.keys is not None:
        source = FileKeys(config.keys, config.believed)
        yield JwtScheme(config, name, source, revoked, clock=wall)
        return
    assert config.jwks_url is not None
    tls = None
    if config.ca is not None:
        tls = ssl.create_default_context(cafile=str(config.ca))
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
    async with open_client(body=LARGEST, context=tls) as client, trio.open_nursery() as nursery:
        fetched = UrlKeys(
            config.jwks_url,
            config.believed,
            client,
            nursery,
            refresh=config.refresh,
            stale=config.stale,
        )
        yield JwtScheme(config, name, fetched, revoked, clock=wall)
        nursery.cancel_scope.cancel()
