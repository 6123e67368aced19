"""Reads: what the tables say, each row checked, in one transaction each.

An expired pattern is not shown, though it may still be there until a command has let time pass. `now` is the
reader's clock: it decides what is shown, never what is in the state.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Literal

import msgspec

from flowcore.errors import InvalidArguments, TooOld
from flowcore.state.records import (
    Changes,
    Counts,
    Lesson,
    Lessons,
    NamespaceCount,
    Page,
    Pattern,
    ReadLevel,
)
from flowcore.state.schema import CONTENT, PATTERN, select
from flowcore.state.tables import Row, checked, read_meta

Order = Literal["id", "key", "time"]

_WIDTH = len(PATTERN) + 1
_JOINED = (
    f"SELECT {', '.join(f'p.{name}' for name in (*PATTERN, 'hash'))},"  # our own names # noqa: S608 # nosec B608
    f" {', '.join(f'c.{name}' for name in (*CONTENT, 'hash'))}"
    " FROM patterns p LEFT JOIN contents c ON c.id = p.id"
)
_ORDERS: dict[Order, str] = {"id": "p.id", "key": "p.key", "time": "p.time"}
_IN = 500
"""Ids that one statement asks for."""


def _pattern(row: Row) -> Pattern:
    narrow = checked("patterns", row[:_WIDTH])
    content = checked("contents", row[_WIDTH:])
    return Pattern(
        id=narrow[0],
        namespace=narrow[1],
        key=narrow[2],
        text=content[1],
        value=content[2],
        vector=content[3],
        embedder=content[4],
        expert=narrow[4],
        reward=narrow[5],
        weight=narrow[6],
        time=narrow[7],
        used=narrow[8],
        expires=narrow[9],
        owner=(narrow[10], narrow[11]),
        version=narrow[12],
    )


def _rows(
    connection: sqlite3.Connection, query: str, arguments: Sequence[Any]
) -> Iterator[Pattern]:
    with closing(connection.execute(query, arguments)) as rows:
        for row in rows:
            yield _pattern(row)


def _live(pattern: Pattern, now: float) -> bool:
    return pattern.expires is None or pattern.expires > now


def by_ids(connection: sqlite3.Connection, ids: Sequence[int], now: float) -> list[Pattern]:
    """Those of these ids that are there, in the order asked for."""
    found: dict[int, Pattern] = {}
    asked = [one for one in dict.fromkeys(ids) if -(2**63) <= one < 2**63]
    for start in range(0, len(asked), _IN):
        part = asked[start : start + _IN]
        marks = ", ".join("?" * len(part))
        for one in _rows(connection, f"{_JOINED} WHERE p.id IN ({marks})", part):
            found[one.id] = one
    return [found[one] for one in asked if one in found and _live(found[one], now)]


def by_keys(
    connection: sqlite3.Connection, namespace: str, keys: Sequence[str], now: float
) -> list[Pattern]:
    """Those of these keys that are there, in the order asked for."""
    made: list[Pattern] = []
    for key in dict.fromkeys(keys):
        made += _rows(
            connection, f"{_JOINED} WHERE p.namespace = ? AND p.key = ?", (namespace, key)
        )
    return [one for one in made if _live(one, now)]


def listed(
    connection: sqlite3.Connection,
    *,
    namespace: str,
    expert: str | None,
    prefix: str,
    since: float | None,
    until: float | None,
    order: Order,
    descending: bool,
    cursor: str | None,
    limit: int,
    now: float,
    level: ReadLevel,
) -> Page:
    """Patterns of a namespace, a page at a time."""
    column = _ORDERS[order]
    where = ["p.namespace = ?", "(p.expires IS NULL OR p.expires > ?)"]
    arguments: list[Any] = [namespace, now]
    if expert is not None:
        where.append("p.expert = ?")
        arguments.append(expert)
    if prefix:
        where.append("p.key >= ?")
        arguments.append(prefix)
        after = _successor(prefix)
        if after:
            where.append("p.key < ?")
            arguments.append(after)
    if since is not None:
        where.append("p.time >= ?")
        arguments.append(since)
    if until is not None:
        where.append("p.time < ?")
        arguments.append(until)
    if cursor is not None:
        where.append(f"({column}, p.id) {'<' if descending else '>'} (?, ?)")
        arguments += _place(cursor, order)
    way = " DESC" if descending else ""
    query = f"{_JOINED} WHERE {' AND '.join(where)} ORDER BY {column}{way}, p.id{way} LIMIT ?"
    found = list(_rows(connection, query, (*arguments, limit + 1)))
    more = len(found) > limit
    found = found[:limit]
    return Page(
        patterns=tuple(found),
        cursor=_cursor(found[-1], order) if more and found else None,
        position=read_meta(connection).position,
        level=level,
    )


def _successor(prefix: str) -> str:
    """The least text after all that begin with a prefix; empty if there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last == 0xD800:
            last = 0xE000  # there are no characters between them
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(last)
        prefix = prefix[:-1]
    return ""


def _cursor(last: Pattern, order: Order) -> str:
    place = (order, getattr(last, order), last.id)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode()


def _place(cursor: str, order: Order) -> tuple[Any, int]:
    try:
        data = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        made, value, id_ = msgspec.msgpack.decode(data, type=tuple[str, float | int | str, int])
    except ValueError:
        raise InvalidArguments(f"{cursor!r:.80} is no cursor of a page") from None
    fits = isinstance(value, str) if order == "key" else not isinstance(value, str)
    if made != order or not fits or not -(2**63) <= id_ < 2**63:
        raise InvalidArguments(f"{cursor!r:.80} is no cursor of a page in the order of {order!r}")
    return value, id_


def changes(connection: sqlite3.Connection, after: int, limit: int, now: float) -> Changes:
    """What changed after a position: whole positions, `limit` patterns about.

    Raises TooOld if what was removed since is not all known any more: begin anew with a list.
    """
    meta = read_meta(connection)
    _known(after, meta.position)
    if after < meta.removed_to:
        raise TooOld(
            f"what was removed after {after} is known from {meta.removed_to} on only: begin anew"
        )
    until = _until(connection, "patterns", "version", after, limit, meta.position)
    until = _until(connection, "removed", "position", after, limit, until)
    changed = tuple(
        _rows(
            connection,
            f"{_JOINED} WHERE p.version > ? AND p.version <= ? ORDER BY p.version, p.id",
            (after, until),
        )
    )
    removed = [
        checked("removed", row)[1]
        for row in connection.execute(
            select("removed", "WHERE position > ? AND position <= ?"), (after, until)
        )
    ]
    del now
    return Changes(
        changed=changed,
        removed=tuple(removed),
        position=max(after, until),
        complete=until >= meta.position,
    )


def _known(after: int, position: int) -> None:
    """Raises TooOld for a position that this state has not come to: it is of one that was lost."""
    if after > position:
        raise TooOld(f"{after} lies beyond {position}, where the state is: begin anew")


def _until(
    connection: sqlite3.Connection, table: str, column: str, after: int, limit: int, most: int
) -> int:
    """The position up to which there are about `limit` rows: as many whole positions as fit, at least one."""
    query = (
        f"SELECT {column} FROM {table} WHERE {column} > ? AND {column} <= ?"  # our own names # noqa: S608 # nosec B608
        f" ORDER BY {column} LIMIT 1 OFFSET ?"
    )
    beyond = connection.execute(query, (after, most, limit)).fetchone()
    if beyond is None:
        return most
    (first,) = connection.execute(query, (after, most, 0)).fetchone()
    return max(int(beyond[0]) - 1, int(first))


def feedback_after(connection: sqlite3.Connection, after: int, limit: int) -> Lessons:
    """Lessons after a position: whole positions, `limit` about. Raises TooOld if some are gone already."""
    meta = read_meta(connection)
    _known(after, meta.position)
    if after < meta.feedback_to:
        raise TooOld(f"feedback after {after} is kept from {meta.feedback_to} on only")
    until = _until(connection, "feedback", "position", after, limit, meta.position)
    rows = connection.execute(
        select("feedback", "WHERE position > ? AND position <= ?"), (after, until)
    )
    lessons = tuple(_lesson(checked("feedback", row)) for row in rows)
    return Lessons(lessons=lessons, position=max(after, until), complete=until >= meta.position)


def _lesson(row: Row) -> Lesson:
    return Lesson(
        number=row[0],
        position=row[1],
        time=row[2],
        request=row[3],
        source=row[4],
        text=row[5],
        vector=row[6],
        embedder=row[7],
        expert=row[8],
        reward=row[9],
        propensity=row[10],
        exclusive=bool(row[11]),
        weight=row[12],
        owner=(row[13], row[14]),
    )


def oldest_feedback(connection: sqlite3.Connection) -> int:
    """The position from which on all feedback is kept: what `feedback_after` takes at least."""
    return read_meta(connection).feedback_to


def counts(connection: sqlite3.Connection) -> Counts:
    """How much there is, in each namespace and in all."""
    meta = read_meta(connection)
    spaces = {}
    for row in connection.execute(select("namespaces")):
        name, patterns, size = checked("namespaces", row)
        spaces[name] = NamespaceCount(patterns=patterns, bytes=size)
    return Counts(
        namespaces=spaces,
        patterns=meta.patterns,
        bytes=meta.bytes,
        feedback=meta.feedback,
        sessions=meta.sessions,
        position=meta.position,
    )
