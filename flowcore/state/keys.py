"""What commands do to idempotency keys: reserved before the work, settled after, or unknown.

Follows the IETF draft "The Idempotency-Key HTTP Header Field", section 2. An unknown outcome stays unknown:
the work is begun again only if it is said that it may be repeated.
"""

from __future__ import annotations

import attrs

from flowcore.errors import IdempotencyConflict, InvalidArguments, QuotaExceeded, VersionConflict
from flowcore.state.limits import ONCE, OVERHEAD
from flowcore.state.results import KeyTold
from flowcore.state.tables import Row, Tables
from flowcore.state.usage import count, room, work_limits
from flowcore.state.work import Owner, ReserveKey, SettleKey

KEEP_UNKNOWN = 86400.0
"""Seconds for which it is known that an outcome is not, where its holder was lost."""


@attrs.define
class _Key:
    """A row of `keys`."""

    number: int
    scheme: str
    owner: str
    scope: str
    key: str
    fingerprint: bytes
    state: str
    holder: str
    fence: int
    until: float | None
    outcome: bytes | None
    expires: float | None
    size: int

    def row(self) -> Row:
        return attrs.astuple(self)


def reserve_key(tables: Tables, command: ReserveKey) -> KeyTold:
    """The key for who is to do the work, or how it stands. Raises IdempotencyConflict, QuotaExceeded."""
    meta = tables.meta
    key = _of(tables, command.owner, command.scope, command.key)
    if key is None:
        key = _Key(
            number=meta.position,
            scheme=command.owner[0],
            owner=command.owner[1],
            scope=command.scope,
            key=command.key,
            fingerprint=command.fingerprint,
            state="unknown",
            holder="",
            fence=0,
            until=None,
            outcome=None,
            expires=None,
            size=0,
        )
        texts = (*command.owner, command.scope, command.key)
        size = OVERHEAD + sum(len(text.encode()) for text in texts)
        _make_room(tables, command.owner, size)
        _grow(tables, key, 1, size)
    else:
        if key.fingerprint != command.fingerprint:
            raise IdempotencyConflict(
                f"the key {command.key!r:.100} came with another request before"
            )
        again = key.state == "running" and key.holder == command.holder
        if not again and not (key.state == "unknown" and command.repeatable):
            return _told(tables, key)
        _drop_outcome(tables, key)
    key.state, key.holder, key.fence = "running", command.holder, meta.position
    key.until, key.expires = meta.time + command.seconds, None
    tables.put("keys", key.row())
    return _told(tables, key, "reserved")


def settle_key(tables: Tables, command: SettleKey) -> KeyTold:
    """What came of it. Raises VersionConflict if another has reserved it since, or it is settled."""
    key = _of(tables, command.owner, command.scope, command.key)
    if key is None:
        raise InvalidArguments(f"there is no key {command.key!r:.100}, or no more")
    if key.fence != command.fence or key.state == "settled":
        raise VersionConflict(
            f"the key {command.key!r:.100} is {key.state} under {key.fence}, not held under {command.fence}",
            data={"version": key.fence},
        )
    if command.state == "free":
        _remove(tables, key)
        return _told(tables, key, "free")
    key.state, key.until, key.expires = command.state, None, tables.meta.time + command.keep
    if command.state == "settled":
        try:
            _grow(tables, key, 0, len(command.outcome))
        except (
            QuotaExceeded
        ):  # the work is done: that must be known, whether or not what came of it is
            key.outcome = None
        else:
            key.outcome = command.outcome
    tables.put("keys", key.row())
    return _told(tables, key)


def lose_keys(tables: Tables, holder: str) -> int:
    """Those that a holder was working on are unknown; how many, ONCE at most."""
    return _lose(
        tables,
        "SELECT number FROM keys WHERE holder = ? AND state = 'running' ORDER BY number LIMIT ?",
        holder,
    )


def expire_keys(tables: Tables) -> None:
    """What was kept for long enough goes, and who did not settle in time is lost, so many at a time."""
    numbers = tables.column(
        "SELECT number FROM keys WHERE expires IS NOT NULL AND expires <= ?"
        " ORDER BY expires, number LIMIT ?",
        (tables.meta.time, ONCE),
    )
    for number in numbers:
        _remove(tables, _Key(*_row(tables, number)))
    _lose(
        tables,
        "SELECT number FROM keys WHERE until IS NOT NULL AND until <= ?"
        " ORDER BY until, number LIMIT ?",
        tables.meta.time,
    )


# ---- one key


def _row(tables: Tables, number: int) -> Row:
    row = tables.get("keys", "WHERE number = ?", (number,))
    assert row is not None
    return row


def _of(tables: Tables, owner: Owner, scope: str, name: str) -> _Key | None:
    """The key as it is at this time."""
    row = tables.get(
        "keys",
        "WHERE scheme = ? AND owner = ? AND scope = ? AND key = ?",
        (*owner, scope, name),
    )
    if row is None:
        return None
    key = _Key(*row)
    if key.until is not None and key.until <= tables.meta.time:
        _lost(tables, key)
    if key.expires is not None and key.expires <= tables.meta.time:
        _remove(tables, key)
        return None
    return key


def _told(tables: Tables, key: _Key, state: str = "") -> KeyTold:
    return KeyTold(
        position=tables.meta.position,
        state=state or key.state,
        fence=key.fence,
        holder=key.holder,
        outcome=key.outcome,
    )


def _grow(tables: Tables, key: _Key, number: int, size: int) -> None:
    limits, owner = work_limits(tables), (key.scheme, key.owner)
    most = (limits.owner_keys, limits.owner_key_bytes)
    room(tables, "keys", owner, number, size, most=most)
    room(tables, "keys", None, number, size, most=(limits.keys, limits.key_bytes))
    key.size += size
    count(tables, "keys", owner, number, size)


def _make_room(tables: Tables, owner: Owner, size: int) -> None:
    """A new key takes the place of its owner's oldest that is settled, before anybody else's."""
    limits = work_limits(tables)
    own = (limits.owner_keys, limits.owner_key_bytes)
    for whose, most in ((owner, own), (None, (limits.keys, limits.key_bytes))):
        for _ in range(ONCE):
            try:
                room(tables, "keys", whose, 1, size, most=most)
                break
            except QuotaExceeded:
                if not _forget_oldest(tables, whose):
                    raise


def _forget_oldest(tables: Tables, owner: Owner | None) -> bool:
    """Let go of the settled key that goes next by itself, of an owner or of all; whether there is one."""
    whose = "" if owner is None else "scheme = ? AND owner = ? AND "
    where = f"WHERE {whose}state = 'settled' ORDER BY expires, number LIMIT 1"
    numbers = tables.column(f"SELECT number FROM keys {where}", owner or ())  # noqa: S608 # nosec B608
    for number in numbers:
        _remove(tables, _Key(*_row(tables, number)))
    return bool(numbers)


def _drop_outcome(tables: Tables, key: _Key) -> None:
    size = len(key.outcome or b"")
    key.outcome = None
    key.size -= size
    count(tables, "keys", (key.scheme, key.owner), 0, -size)


def _lose(tables: Tables, query: str, which: str | float) -> int:
    numbers = tables.column(query, (which, ONCE))
    for number in numbers:
        _lost(tables, _Key(*_row(tables, number)))
    return len(numbers)


def _lost(tables: Tables, key: _Key) -> None:
    key.state, key.until = "unknown", None
    key.expires = tables.meta.time + KEEP_UNKNOWN
    tables.put("keys", key.row())


def _remove(tables: Tables, key: _Key) -> None:
    tables.delete("keys", "WHERE number = ?", (key.number,))
    count(tables, "keys", (key.scheme, key.owner), -1, -key.size)
