"""Keys by id, each with its time: signed with the newest, verified with every one that is active."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
import tomli

from flowcore.secrets import refuse_weak_key

_LEAST = 32
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FIELDS = frozenset(
    {"id", "secret", "principal", "roles", "scopes", "not_before", "not_after", "revoked"}
)


@attrs.frozen(kw_only=True)
class Key:
    """One shared secret. Times are in seconds since the epoch."""

    id: str
    secret: bytes = attrs.field(repr=False)
    principal: str
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    not_before: float = float("-inf")
    not_after: float = float("inf")
    revoked: bool = False

    def __attrs_post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"expected a key id of letters, digits, '.', '_' and '-', not {self.id!r}"
            )
        if len(self.secret) < _LEAST:
            raise ValueError(f"key {self.id!r}: expected a secret of at least {_LEAST} bytes")
        refuse_weak_key(self.secret, f"key {self.id!r}: the secret")
        if not self.principal.isprintable() or not 0 < len(self.principal) <= 128:
            raise ValueError(f"key {self.id!r}: expected the name of a principal")
        if self.not_before >= self.not_after:
            raise ValueError(f"key {self.id!r}: expected not_before to be before not_after")

    def active(self, now: float) -> bool:
        """Whether what it signed is believed now."""
        return not self.revoked and self.not_before <= now < self.not_after


class KeyRing:
    """Some keys. Raises ValueError for two of one id."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys: dict[str, Key] = {}
        for one in keys:
            if one.id in self._keys:
                raise ValueError(f"two keys have the id {one.id!r}")
            self._keys[one.id] = one

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        """All keys, active or not, as they stand in the ring."""
        return iter(self._keys.values())

    def find(self, id_: str, now: float) -> Key | None:
        """The key of that id, if it is active."""
        key = self._keys.get(id_)
        return key if key is not None and key.active(now) else None

    def newest(self, now: float) -> Key:
        """The active key that became so last: what to sign with. Raises LookupError if there is none."""
        active = [one for one in self._keys.values() if one.active(now)]
        if not active:
            raise LookupError("no key of the ring is active")
        return max(active, key=lambda one: one.not_before)


def read_ring(data: bytes) -> KeyRing:
    """The key ring of a TOML file; secrets are base64. Raises ValueError saying what is wrong.

    [[key]]
    id = "2026-11"
    principal = "billing"
    secret = "…"                          # openssl rand -base64 32
    not_before = 2026-11-01T00:00:00Z
    not_after = 2026-12-08T00:00:00Z
    """
    try:
        document = tomli.loads(data.decode())
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not TOML: {error}") from None
    unknown = sorted(document.keys() - {"key"})
    listed = document.get("key", [])
    if unknown or not isinstance(listed, list) or not listed:
        raise ValueError(f"expected [[key]] tables only, not {', '.join(unknown) or 'none'}")
    return KeyRing(_key(number, one) for number, one in enumerate(listed, 1))


def _key(number: int, table: Any) -> Key:
    if not isinstance(table, dict):
        raise ValueError(f"key {number}: expected a table")
    unknown = sorted(table.keys() - _FIELDS)
    if unknown:
        raise ValueError(
            f"key {number}: unknown {', '.join(unknown)} (known: {', '.join(sorted(_FIELDS))})"
        )
    for name in ("id", "secret", "principal"):
        if not isinstance(table.get(name), str):
            raise ValueError(f"key {number}: expected {name} as text")
    if not isinstance(table.get("revoked", False), bool):
        raise ValueError(f"key {number}: expected revoked to be true or false")
    try:
        secret = base64.b64decode(table["secret"], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key {number}: the secret is not base64") from None
    return Key(
        id=table["id"],
        secret=secret,
        principal=table["principal"],
        roles=_texts(number, table, "roles"),
        scopes=_texts(number, table, "scopes"),
        not_before=_time(number, table, "not_before", float("-inf")),
        not_after=_time(number, table, "not_after", float("inf")),
        revoked=table.get("revoked", False),
    )


def _texts(number: int, table: dict[str, Any], name: str) -> frozenset[str]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"key {number}: expected {name} as an array of texts")
    return frozenset(value)


def _time(number: int, table: dict[str, Any], name: str, default: float) -> float:
    value = table.get(name)
    if value is None:
        return default
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(
            f"key {number}: expected {name} as a time with its zone, like 2026-11-01T00:00:00Z"
        )
    try:
        return value.astimezone(UTC).timestamp()
    except OverflowError:
        raise ValueError(
            f"key {number}: {name} is before the year 1 or after 9999 in UTC"
        ) from None
