"""Where the keys come from: a file, a URL, a shared secret. Keys rotate by being there, under their ids.

A URL is fetched when a token first needs it, once at a time, whoever waits; from then on every `refresh`
seconds, whether tokens come or not, so that a key that was taken out ends by then; and at once for a key id
that is not known (but not more often than every `_AGAIN` seconds, or `refresh` if that is less). What cannot
be fetched again holds for `stale`.
"""

from __future__ import annotations

import json
import logging
import math
import pathlib
import ssl
from typing import Any, Protocol

import trio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from jwt.exceptions import PyJWKError, PyJWTError

from flow_auth.jwt.verify import KIND, KeySet
from flow_auth.watched import WatchedFile, said
from flowcore.errors import AgentUnavailable
from flowcore.http import Client, HttpError
from flowcore.secrets import refuse_sample_key

logger = logging.getLogger(__name__)

_MOST_KEYS = 100
_AGAIN = 30.0
_PATIENCE = 5.0


class KeySource(Protocol):
    """Gives the keys that are believed now."""

    async def get(self) -> KeySet:
        """The keys. Raises AgentUnavailable if there are none to be had."""
        ...

    async def again(self) -> KeySet:
        """The keys, after looking for new ones as far as that may be done now."""
        ...


class FixedKeys:
    """Keys that never change."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def get(self) -> KeySet:
        return self._keys

    async def again(self) -> KeySet:
        return self._keys


class FileKeys:
    """The keys of a file."""

    def __init__(self, path: pathlib.Path, algorithms: tuple[str, ...]) -> None:
        self._file = WatchedFile(path, lambda data: read_keys(data, algorithms), "key file")

    async def get(self) -> KeySet:
        keys: KeySet = self._file.get()
        return keys

    async def again(self) -> KeySet:
        return await self.get()


class UrlKeys:
    """The keys that an issuer publishes."""

    def __init__(
        self,
        url: str,
        algorithms: tuple[str, ...],
        client: Client,
        nursery: trio.Nursery,
        *,
        refresh: float,
        stale: float,
    ) -> None:
        self._url = url
        self._algorithms = algorithms
        self._client = client
        self._nursery = nursery
        self._refresh = refresh
        self._stale = stale
        self._again = min(_AGAIN, refresh)
        self._keys: KeySet | None = None
        self._fetched = self._tried = -math.inf
        self._under_way: trio.Event | None = None

    async def get(self) -> KeySet:
        now = trio.current_time()
        age = now - self._fetched
        if self._keys is None or age >= self._stale:
            await self._fetch_once(now)
        return self._known()

    async def again(self) -> KeySet:
        await self._fetch_once(trio.current_time())
        return self._known()

    def _known(self) -> KeySet:
        now = trio.current_time()
        if self._keys is None or now - self._fetched >= self._stale:
            raise AgentUnavailable(
                "the keys that tokens are checked with cannot be fetched now",
                retry_after=max(1.0, self._tried + self._again - now),
            )
        return self._keys

    async def _fetch_once(self, now: float) -> None:
        self._begin(now)
        if self._under_way is not None:
            await self._under_way.wait()

    def _begin(self, now: float) -> None:
        if self._under_way is None and now >= self._tried + self._again:
            if self._tried == -math.inf:
                self._nursery.start_soon(self._keep_fresh)
            self._tried = now
            self._under_way = trio.Event()
            self._nursery.start_soon(self._fetch, self._under_way)

    async def _keep_fresh(self) -> None:
        """Fetch again in time, as long as the scheme is open; nobody waits for it."""
        while True:
            due = max(self._fetched + self._refresh, self._tried + self._again)
            if trio.current_time() < due:
                await trio.sleep_until(due)
            else:
                await self._fetch_once(trio.current_time())

    async def _fetch(self, done: trio.Event) -> None:
        try:
            with trio.fail_after(_PATIENCE):
                answer = await self._client.request(
                    "GET", self._url, headers=[(b"accept", b"application/json")]
                )
            if answer.status != 200:
                raise ValueError(f"answered {answer.status}")
            self._keys = read_keys(answer.body, self._algorithms)
            self._fetched = trio.current_time()
        except (HttpError, ValueError, trio.TooSlowError, ssl.SSLError) as error:
            logger.warning("the JWK Set %s could not be fetched: %s", self._url, said(error))
        finally:
            self._under_way = None
            done.set()


def read_keys(data: bytes, algorithms: tuple[str, ...]) -> KeySet:
    """The keys of a JWK Set, a single JWK or PEM that fit the algorithms. Raises ValueError."""
    if data.lstrip().startswith(b"-----BEGIN "):
        return KeySet(_pem_keys(data, algorithms))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("is neither JSON nor PEM") from None
    listed = found.get("keys", [found]) if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError("is no JWK Set")
    if len(listed) > _MOST_KEYS:
        raise ValueError(f"has more than {_MOST_KEYS} keys")
    keys = [key for one in listed if (key := _jwk(one, algorithms)) is not None]
    if not keys:
        raise ValueError(f"has no key for {', '.join(algorithms)}")
    named = [key.key_id for key in keys if key.key_id is not None]
    if len(set(named)) != len(named):
        raise ValueError("has two keys of one id")
    return KeySet(keys)


def _jwk(one: dict[str, Any], algorithms: tuple[str, ...]) -> PyJWK | None:
    """One key; None if it is for something else (RFC 7517 section 5: such are to be ignored)."""
    fit = [name for name in algorithms if KIND[name] == one.get("kty")]
    algorithm = one.get("alg", fit[0] if fit else None)
    if algorithm not in fit or one.get("use", "sig") != "sig":
        return None
    if not isinstance(one.get("kid", ""), str):
        raise ValueError("has a key whose id is no text")
    if "d" in one:
        raise ValueError("has a private key, which belongs with the issuer only")
    try:
        key = PyJWK(one, algorithm)
    except (PyJWTError, PyJWKError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"has a malformed key: {said(error)}") from None
    public = key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    refuse_sample_key(public, "the key that it has")
    if algorithm == "RS256" and key.key.key_size < 2048:
        raise ValueError("has an RSA key of less than 2,048 bits (RFC 7518 section 3.3)")
    return key


def _pem_keys(data: bytes, algorithms: tuple[str, ...]) -> list[PyJWK]:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from jwt.algorithms import get_default_algorithms

    if b"PRIVATE KEY" in data:
        raise ValueError("has a private key, which belongs with the issuer only")
    known = get_default_algorithms()
    keys = []
    end = b"-----END PUBLIC KEY-----"
    for part in data.split(end)[:-1]:
        try:
            public = load_pem_public_key(part.lstrip() + end + b"\n")
        except (ValueError, TypeError) as error:
            raise ValueError(f"has a malformed key: {said(error)}") from None
        for name in algorithms:
            try:
                made = known[name].to_jwk(public, as_dict=True)
            except (PyJWTError, TypeError, AttributeError, ValueError):
                continue
            key = _jwk(dict(made) | {"alg": name}, algorithms)
            if key is not None:
                keys.append(key)
                break
    if not keys:
        raise ValueError(f"has no public key for {', '.join(algorithms)}")
    return keys


def secret_key(secret: str) -> KeySet:
    """The one key of a shared secret."""
    import base64

    k = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    return KeySet([PyJWK({"kty": "oct", "k": k, "alg": "HS256"}, "HS256")])
