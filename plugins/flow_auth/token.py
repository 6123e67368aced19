"""`token`: long random bearer tokens, of which the configuration holds only the digests.

    $ flowctl token ann
    flow_Vb3…                                  give this to ann; it is shown once
    { name = "ann", sha256 = "9f86d081…" }     put this under [auth.NAME] tokens

A digest without salt or stretching is enough for these: they are 32 random bytes, which nobody guesses.
"""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs

from flow_auth.bearer import CHALLENGE, bearer
from flowcore.access import PREFIX
from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.errors import Unauthenticated
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Request
from flowcore.requests import Principal


@attrs.frozen(kw_only=True)
class TokenSettings:
    """One token: whose it is, and what it is known by."""

    name: str = setting(
        validator=v.matches(r"[\x21-\x7e]{1,128}"), help="the principal it stands for"
    )
    sha256: str = setting(
        validator=v.matches(r"[0-9a-f]{64}"), help="the SHA-256 digest of the token, in hex"
    )
    roles: tuple[str, ...] = setting((), help="the principal's roles")
    scopes: tuple[str, ...] = setting((), help="the principal's scopes")
    expires: str | None = setting(
        None, help='when it ends to be good, as `"2027-01-31"` (its last day, UTC); unset: never'
    )

    def __attrs_post_init__(self) -> None:
        if self.sha256 == hashlib.sha256(PREFIX.encode()).hexdigest():
            raise ValueError("the digest is that of an empty token")
        if self.expires is not None:
            datetime.date.fromisoformat(self.expires)

    @property
    def until(self) -> float:
        """When it ends to be good, in seconds since the epoch."""
        if self.expires is None:
            return float("inf")
        day = datetime.date.fromisoformat(self.expires) + datetime.timedelta(days=1)
        return datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()


@attrs.frozen(kw_only=True)
class TokenConfig:
    """Which tokens are good. Several may be of one name, so that they can be exchanged without a gap."""

    tokens: tuple[TokenSettings, ...] = setting(help="the tokens, made by `flowctl token`")

    def __attrs_post_init__(self) -> None:
        digests = [one.sha256 for one in self.tokens]
        if len(set(digests)) != len(digests):
            raise ValueError("two tokens have the same digest")


class TokenScheme:
    """Who a token belongs to."""

    challenge = CHALLENGE

    def __init__(
        self, config: TokenConfig, name: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        # by digest: what a wrong token's digest shares with a right one's tells nothing of the right token
        self._known = {
            bytes.fromhex(one.sha256): (
                one.until,
                Principal(
                    name=one.name,
                    scheme=name,
                    roles=frozenset(one.roles),
                    scopes=frozenset(one.scopes),
                ),
            )
            for one in config.tokens
        }

    async def identify(self, request: Request, resource: str) -> Principal | None:
        """The owner of a token of ours; None if the request brings none."""
        del resource
        token = bearer(request)
        if token is None or not token.startswith(PREFIX.encode()):
            return None
        known = self._known.get(hashlib.sha256(token).digest())
        if known is None:
            raise Unauthenticated("the token is not known")
        until, principal = known
        if self._clock() >= until:
            raise Unauthenticated("the token has expired")
        return principal


@asynccontextmanager
async def open_token(config: TokenConfig, context: Context) -> AsyncGenerator[TokenScheme]:
    """The tokens of the configuration."""
    yield TokenScheme(config, context.name.partition(".")[2])


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("auth", "token", TokenConfig, open_token, stability="beta"))
