"""`token`: long random bearer tokens, of which the configuration holds only the digests.

    $ flowctl token ann
    flow_Vb3…                                  give this to ann; it is shown once
    { name = "ann", sha256 = "5c0e9a27…" }     put this under [auth.NAME] tokens, or, as [[token]], into the
                                               file that [auth.NAME] file names

A digest without salt or stretching is enough for these: they are 32 random bytes, which nobody guesses.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import pathlib
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs

from flow_auth.bearer import CHALLENGE, HEADERS, bearer
from flow_auth.watched import WatchedFile
from flowcore.config import ConfigError, NothingKnown, attempt, load, setting
from flowcore.config import validators as v
from flowcore.errors import Unauthenticated
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Request
from flowcore.requests import Principal
from flowcore.secrets import STATIC_PREFIX, check_mode, refuse_sample_digest

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY = 86_400.0


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
        if self.sha256 == hashlib.sha256(STATIC_PREFIX.encode()).hexdigest():
            raise ValueError("the digest is that of an empty token")
        refuse_sample_digest(self.sha256)
        if self.expires is not None and _day(self.expires) is None:
            raise ValueError(f"expected expires as a day like 2027-01-31, not {self.expires!r}")

    @property
    def until(self) -> float:
        """When it ends to be good, in seconds since the epoch; infinity for never."""
        day = None if self.expires is None else _day(self.expires)
        if day is None:
            return float("inf")
        midnight = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        return midnight.timestamp() + _DAY  # 9999-12-31 has no day after it, but a second


def _day(text: str) -> datetime.date | None:
    """The day of an ISO 8601 text of year, month and day; None if it is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


@attrs.frozen(kw_only=True)
class TokenConfig:
    """Which tokens are good. Several may be of one name, so that they can be exchanged without a gap."""

    tokens: tuple[TokenSettings, ...] = setting((), help="the tokens, made by `flowctl token`")
    file: pathlib.Path | None = setting(
        None,
        help="a TOML file of mode 0600 with [[token]] tables of the same keys, read again when it changes",
    )

    def __attrs_post_init__(self) -> None:
        if not self.tokens and self.file is None:
            raise ValueError("expected tokens, or a file of them")
        _check_unique(self.tokens)


@attrs.frozen(kw_only=True)
class TokenFile:
    """The tokens of a file of their own."""

    token: tuple[TokenSettings, ...] = setting(help="the tokens")

    def __attrs_post_init__(self) -> None:
        _check_unique(self.token)


def _check_unique(tokens: tuple[TokenSettings, ...]) -> None:
    digests = [one.sha256 for one in tokens]
    if len(set(digests)) != len(digests):
        raise ValueError("two tokens have the same digest")


def read_tokens(path: pathlib.Path) -> Callable[[bytes], tuple[TokenSettings, ...]]:
    """Reads the tokens of a file that only its owner can change. Raises ValueError."""

    def read(data: bytes) -> tuple[TokenSettings, ...]:
        check_mode(os.stat(path).st_mode)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text") from None
        try:
            document = load("\n" + text)  # a text of several lines is TOML, and no file's name
        except ConfigError as error:
            raise ValueError(str(error)) from None
        tried = attempt(document, TokenFile, NothingKnown())
        if tried.made is None:
            raise ValueError("; ".join(f"{one.path}: {one.message}" for one in tried.problems))
        return tried.made.token

    return read


class TokenScheme:
    """Who a token belongs to."""

    challenge = CHALLENGE
    headers = HEADERS

    def __init__(
        self,
        config: TokenConfig,
        name: str,
        clock: Callable[[], float] = time.time,
        file: Callable[[], tuple[TokenSettings, ...]] | None = None,
    ) -> None:
        self._clock = clock
        self._tokens = config.tokens
        self._file = file
        self._filed: tuple[TokenSettings, ...] | None = None
        self._name = name
        self._known = self._by_digest(config.tokens)

    def _by_digest(self, tokens: tuple[TokenSettings, ...]) -> dict[bytes, tuple[float, Principal]]:
        # by digest: what a wrong token's digest shares with a right one's tells nothing of the right token
        return {
            bytes.fromhex(one.sha256): (
                one.until,
                Principal(
                    name=one.name,
                    scheme=self._name,
                    roles=frozenset(one.roles),
                    scopes=frozenset(one.scopes),
                    credentials=(f"token:{one.sha256}",),
                ),
            )
            for one in tokens
        }

    def _now(self) -> dict[bytes, tuple[float, Principal]]:
        """The tokens that are good now, those of the file among them."""
        if self._file is not None:
            filed = self._file()
            if filed is not self._filed:
                self._filed = filed
                self._known = self._by_digest((*filed, *self._tokens))
        return self._known

    async def identify(self, request: Request, resource: str) -> Principal | None:
        """The owner of a token of ours; None if the request brings none."""
        del resource
        token = bearer(request)
        if token is None or not token.startswith(STATIC_PREFIX.encode()):
            return None
        known = self._now().get(hashlib.sha256(token).digest())
        if known is None:
            raise Unauthenticated("the token is not known")
        until, principal = known
        if self._clock() >= until:
            raise Unauthenticated("the token has expired")
        return principal


@asynccontextmanager
async def open_token(config: TokenConfig, context: Context) -> AsyncGenerator[TokenScheme]:
    """The tokens of the configuration, and of its file. Raises AssemblyError if that cannot be used."""
    file = None
    if config.file is not None:
        file = WatchedFile(config.file, read_tokens(config.file), "token file").get
    name = context.name.partition(".")[2]
    yield TokenScheme(config, name, file=file, clock=context.host.wall)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("auth", "token", TokenConfig, open_token, stability="beta"))
