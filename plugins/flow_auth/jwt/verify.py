"""What is checked of a token. Sans-IO: keys and time are given.

Much of it PyJWT does not check, or only if asked: a fixed list of algorithms, each
bound to its kind of key; the type; numbers that are numbers; claims that come twice; the size; `crit`.
Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (access tokens).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Collection, Iterable
from typing import Any

import attrs
from jwt import PyJWK

from flow_auth.jwt.settings import JwtConfig
from flowcore.errors import PermissionDenied, Unauthenticated
from flowcore.requests import Principal

KIND = {"EdDSA": "OKP", "ES256": "EC", "RS256": "RSA", "HS256": "oct"}
_LONGEST_KID = 256


@attrs.frozen
class Verified:
    """A token that was found good."""

    principal: Principal
    expires: float
    """Seconds since the epoch."""
    id: str | None
    """Its `jti`."""


class KeySet:
    """Public keys, each for its algorithm, by id."""

    def __init__(self, keys: Iterable[PyJWK]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key of that id that fits the algorithm; without an id, the only one that fits."""
        fit = [one for one in self._keys if fits(one, algorithm)]
        if kid is not None:
            named = [one for one in fit if one.key_id == kid]
            return named[0] if len(named) == 1 else None
        return fit[0] if len(fit) == 1 else None


def fits(key: PyJWK, algorithm: str) -> bool:
    """Whether a key is one of the algorithm's, and for signatures."""
    return (
        key.key_type == KIND.get(algorithm)
        and key.algorithm_name == algorithm
        and key.public_key_use in (None, "sig")
    )


class UnknownKey(Unauthenticated):
    """No key of that id is known (yet)."""


class Verifier:
    """Checks tokens against one configuration."""

    def __init__(self, config: JwtConfig, scheme: str) -> None:
        self._config = config
        self._scheme = scheme
        self._types = {one.lower().removeprefix("application/") for one in config.types}
        self._required = {"iss", "aud", "exp", config.principal_claim, *config.require}
        if config.revoked is not None:
            self._required.add("jti")  # or it could not be revoked

    def verify(
        self,
        token: bytes,
        keys: KeySet,
        audience: str,
        now: float,
        revoked: Collection[str] = frozenset(),
    ) -> Verified:
        """What a token says, if all of it is right.

        `audience` is whom it must be meant for unless the configuration says; `now` is in seconds since
        the epoch. Raises Unauthenticated; PermissionDenied if it is right but lacks a needed scope.
        """
        if len(token) > self._config.max_size:
            raise Unauthenticated(f"the token has more than {self._config.max_size} bytes")
        parts = token.split(b".")
        if len(parts) != 3:
            raise Unauthenticated("the token does not have three parts")
        header = _object(_decoded(parts[0]), "header")
        key = self._key(header, keys)
        signed = parts[0] + b"." + parts[1]
        if not key.Algorithm.verify(signed, key.key, _decoded(parts[2])):
            raise Unauthenticated("the token's signature is wrong")
        claims = _object(_decoded(parts[1]), "payload")
        verified = self._believe(claims, audience, now, revoked)
        kid = header.get("kid")
        marks = ("" if verified.id is None else f"jti:{verified.id}", f"key:{kid}" if kid else "")
        principal = attrs.evolve(verified.principal, credentials=tuple(filter(None, marks)))
        return attrs.evolve(verified, principal=principal)

    def _key(self, header: dict[str, Any], keys: KeySet) -> PyJWK:
        algorithm, kind, kid = header.get("alg"), header.get("typ"), header.get("kid")
        if algorithm not in self._config.believed:
            raise Unauthenticated("the token is signed by an algorithm that is not believed")
        if not isinstance(kind, str) or (
            kind.lower().removeprefix("application/") not in self._types
        ):
            raise Unauthenticated("the token is of another type")
        if "crit" in header or "b64" in header:
            raise Unauthenticated("the token has extensions that are not understood")
        if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KID):
            raise Unauthenticated("the token's key id is malformed")
        key = keys.find(kid, algorithm)
        if key is None:
            raise UnknownKey("the token is signed by an unknown key")
        return key

    def _believe(
        self, claims: dict[str, Any], audience: str, now: float, revoked: Collection[str]
    ) -> Verified:
        config = self._config
        missing = sorted(name for name in self._required if claims.get(name) is None)
        if missing:
            raise Unauthenticated(f"the token lacks {', '.join(missing)}")
        if claims["iss"] != config.issuer:
            raise Unauthenticated("the token is of another issuer")
        meant = _texts(claims["aud"], "aud")
        if not meant & set(config.audience or (audience,)):
            raise Unauthenticated("the token is meant for somebody else")
        expires = _time(claims, "exp")
        if expires <= now - config.leeway:
            raise Unauthenticated("the token has expired")
        for name in ("nbf", "iat"):
            if name in claims and _time(claims, name) > now + config.leeway:
                raise Unauthenticated("the token is not valid yet")
        id_ = claims.get("jti")
        if id_ is not None and not isinstance(id_, str):
            raise Unauthenticated("the token's jti is no text")
        if id_ in revoked:
            raise Unauthenticated("the token was revoked")
        return Verified(self._principal(claims), expires, id_)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        config = self._config
        name = claims[config.principal_claim]
        if not isinstance(name, str) or not name or not name.isprintable():
            raise Unauthenticated(f"the token's {config.principal_claim} is no name")
        scope = claims.get("scope", claims.get("scp", ()))
        scopes = frozenset(scope.split()) if isinstance(scope, str) else _texts(scope, "scope")
        lacking = [one for one in config.scopes if one not in scopes]
        if lacking:
            raise PermissionDenied(
                f"the token lacks the scope {' '.join(lacking)}",
                data={"scope": " ".join(config.scopes)},
                began=False,
            )
        roles = _texts(claims.get(config.roles_claim, ()), config.roles_claim)
        return Principal(name=name, scheme=self._scheme, roles=roles, scopes=scopes)


def _decoded(part: bytes) -> bytes:
    """base64url without padding (RFC 7515 section 2); one form only, so that a token has one spelling."""
    try:
        data = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated("the token is not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise Unauthenticated("the token is not base64url")
    return data


def _object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object, each member once."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Unauthenticated(f"the token's {what} has a member twice")
        return found

    try:
        value = json.loads(data, object_pairs_hook=members)
    except (ValueError, RecursionError):
        raise Unauthenticated(f"the token's {what} is not JSON") from None
    if not isinstance(value, dict):
        raise Unauthenticated(f"the token's {what} is no object")
    return value


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unauthenticated(f"the token's {name} is no number")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise Unauthenticated(f"the token's {name} is no time")
    return seconds


def _texts(value: Any, name: str) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return frozenset(value)
    raise Unauthenticated(f"the token's {name} is no list of texts")
