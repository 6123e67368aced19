"""The settings of `[auth.NAME]` with `type = "jwt"`."""

from __future__ import annotations

import pathlib
from typing import Literal

import attrs

from flowcore.addresses import is_local
from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.secrets import refuse_weak_key

Algorithm = Literal["EdDSA", "ES256", "RS256", "HS256"]
_LEAST_SECRET = 32


@attrs.frozen(kw_only=True)
class JwtConfig:
    """Which tokens are believed. One of `keys`, `jwks_url` and `secret` says by which keys."""

    issuer: str = setting(help="who must have issued a token: its `iss`, exactly")
    audience: tuple[str, ...] = setting(
        (), help="whom a token may be meant for (`aud`); unset: the URI of the edge it is used at"
    )
    keys: pathlib.Path | None = setting(
        None, help="a file with public keys, a JWK Set or PEM; read again when it changes"
    )
    jwks_url: str | None = setting(None, help="where the issuer publishes its JWK Set; https")
    secret: Secret | None = setting(None, help="a shared secret of at least 32 bytes, for HS256")
    algorithms: tuple[Algorithm, ...] = setting(
        (), help="signatures that are believed; unset: EdDSA, ES256, RS256, or HS256 with a secret"
    )
    types: tuple[str, ...] = setting(
        ("at+jwt", "JWT"), help="the `typ` that a token may have (RFC 9068 section 2.1)"
    )
    require: tuple[str, ...] = setting(
        (), help="claims that must be there besides iss, aud, exp, sub"
    )
    scopes: tuple[str, ...] = setting((), help="scopes without which nobody comes in")
    principal_claim: str = setting("sub", help="the claim that names the principal")
    roles_claim: str = setting("roles", help="the claim that lists its roles")
    leeway: Duration = setting(
        10.0, validator=v.ge(0), help="how far the issuer's clock may be off"
    )
    max_size: Size = setting(8 << 10, validator=v.ge(256), help="the longest token")
    cache: Duration = setting(
        60.0, validator=v.ge(0), help="how long a verified token is believed without another look"
    )
    refresh: Duration = setting(
        600.0,
        validator=v.gt(0),
        help="how often the JWK Set is fetched again: what was taken out is refused by then",
    )
    stale: Duration = setting(
        86400.0,
        validator=v.gt(0),
        help="how long keys are believed that cannot be fetched again",
    )
    ca: pathlib.Path | None = setting(
        None,
        help="PEM file of the CAs that the JWK Set's server is checked by; unset: the system's",
    )
    revoked: pathlib.Path | None = setting(
        None, help="a file of revoked token ids (`jti`), one a line; read again when it changes"
    )
    authorization_servers: tuple[str, ...] = setting(
        (), help="issuers that clients are sent to for a token (RFC 9728); unset: `issuer`"
    )

    def __attrs_post_init__(self) -> None:
        given = [one for one in ("keys", "jwks_url", "secret") if getattr(self, one) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of keys, jwks_url and secret, not {' and '.join(given) or 'none'}"
            )
        symmetric = [name for name in self.algorithms if name == "HS256"]
        if self.secret is None and symmetric:
            raise ValueError("expected a secret for HS256: a public key is no secret")
        if self.secret is not None:
            self._check_secret(self.secret.reveal())
            if (self.algorithms and not symmetric) or len(self.algorithms) > 1:
                raise ValueError('expected algorithms = ["HS256"] with a secret')
        if self.jwks_url is not None:
            self._check_url(self.jwks_url)

    @staticmethod
    def _check_secret(secret: str) -> None:
        if len(secret.encode()) < _LEAST_SECRET:
            raise ValueError(f"expected a secret of at least {_LEAST_SECRET} bytes (RFC 7518, 3.2)")
        refuse_weak_key(secret.encode(), "the secret")

    @staticmethod
    def _check_url(url: str) -> None:
        from flowcore.http import split_url

        origin, _ = split_url(url)
        if not origin.secure and not is_local(origin.host) and origin.host != "localhost":
            raise ValueError(f"expected an https URL, not {url!r}: keys must come unaltered")

    @property
    def believed(self) -> tuple[str, ...]:
        """The algorithms, settled."""
        if self.algorithms:
            return self.algorithms
        return ("HS256",) if self.secret is not None else ("EdDSA", "ES256", "RS256")
