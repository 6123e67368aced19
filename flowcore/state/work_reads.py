"""Reads of work: tasks, keys, leases, revocations. What has expired by the reader's clock is not shown."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import attrs

from flowcore.errors import InvalidArguments
from flowcore.state.records import ReadLevel
from flowcore.state.schema import KEY, LEASE, TASK, select
from flowcore.state.tables import Row, checked, read_meta
from flowcore.state.work import Owner


@attrs.frozen(kw_only=True)
class Task:
    """A durable task as it stands. Times are seconds since 1970."""

    number: int
    """The position it was submitted at: tasks of a queue go in this order."""
    id: str
    owner: Owner
    queue: str
    state: str
    """`queued`, `running`, `completed`, `failed`, `cancelled`, `unknown`."""
    holder: str
    """Who claimed it last."""
    fence: int
    until: float | None
    """When its claim is over; None: it is not claimed."""
    attempt: int
    cancel: bool
    submitted: float
    changed: float
    expires: float | None
    payload: bytes
    progress: bytes
    result: bytes


@attrs.frozen(kw_only=True)
class TaskPage:
    """Tasks of an owner, as they were at a position."""

    tasks: tuple[Task, ...]
    cursor: int | None
    """Where the next page begins; None after the last."""
    position: int
    level: ReadLevel


@attrs.frozen(kw_only=True)
class KeyState:
    """An idempotency key as it stands."""

    state: str
    """`running`, `settled`, `unknown`."""
    fingerprint: bytes
    holder: str
    fence: int
    until: float | None
    outcome: bytes | None
    expires: float | None


@attrs.frozen(kw_only=True)
class Lease:
    """Who holds what, since when and until when, seconds since 1970."""

    name: str
    holder: str
    fence: int
    since: float
    until: float


def task(connection: sqlite3.Connection, id_: str, now: float) -> Task | None:
    """A task by its id."""
    found = _tasks(connection, "WHERE id = ? AND (expires IS NULL OR expires > ?)", (id_, now), 1)
    return found[0] if found else None


def tasks(
    connection: sqlite3.Connection,
    owner: Owner | None,
    *,
    states: Sequence[str],
    cursor: int | None,
    limit: int,
    now: float,
    level: ReadLevel,
) -> TaskPage:
    """Tasks of an owner, or of all, in the order they were submitted, a page at a time."""
    whose = "" if owner is None else "scheme = ? AND owner = ? AND "
    where = f"WHERE {whose}number > ? AND (expires IS NULL OR expires > ?)"
    arguments: tuple[Any, ...] = (*(owner or ()), -1 if cursor is None else cursor, now)
    if states:
        where += f" AND state IN ({', '.join('?' * len(states))})"
        arguments += tuple(states)
    found = _tasks(connection, where, arguments, limit + 1)
    more = len(found) > limit
    return TaskPage(
        tasks=tuple(found[:limit]),
        cursor=found[limit - 1].number if more else None,
        position=read_meta(connection).position,
        level=level,
    )


def task_lines(connection: sqlite3.Connection, limit: int, now: float) -> list[Task]:
    """The latest tasks of all, latest first, for a person to see: without results and large payloads."""
    rows = connection.execute(
        f"SELECT {', '.join(TASK)}, hash FROM tasks WHERE expires IS NULL OR expires > ?"  # noqa: S608 # nosec B608
        " ORDER BY number DESC LIMIT ?",
        (now, limit),
    ).fetchall()
    return [_task(connection, _named(TASK, checked("tasks", row)), whole=False) for row in rows]


@attrs.frozen
class Claim:
    """A task that somebody has claimed, as far as its claimer must know."""

    id: str
    number: int
    fence: int
    """The same as the number, where it was claimed as it was submitted."""
    cancel: bool


def claims(connection: sqlite3.Connection, holder: str) -> list[Claim]:
    """The tasks that a holder has claimed."""
    rows = connection.execute(
        "SELECT id, number, fence, cancel FROM tasks WHERE holder = ? AND state = 'running' ORDER BY number",
        (holder,),
    )
    return [Claim(id_, number, fence, bool(cancel)) for id_, number, fence, cancel in rows]


def queues(connection: sqlite3.Connection) -> list[str]:
    """The queues that tasks wait in."""
    rows = connection.execute(
        "SELECT DISTINCT queue FROM tasks WHERE state = 'queued' ORDER BY queue"
    )
    return [name for (name,) in rows]


def holders(connection: sqlite3.Connection) -> list[str]:
    """Whoever holds a task, a key or a lease."""
    rows = connection.execute(
        "SELECT holder FROM tasks WHERE state = 'running' UNION"
        " SELECT holder FROM keys WHERE state = 'running' UNION SELECT holder FROM leases ORDER BY 1"
    )
    return [name for (name,) in rows]


def key(
    connection: sqlite3.Connection, owner: Owner, scope: str, name: str, now: float
) -> KeyState | None:
    """How a key stands."""
    row = connection.execute(
        select(
            "keys",
            "WHERE scheme = ? AND owner = ? AND scope = ? AND key = ?"
            " AND (expires IS NULL OR expires > ?)",
        ),
        (*owner, scope, name, now),
    ).fetchone()
    if row is None:
        return None
    one = _named(KEY, checked("keys", row))
    return KeyState(**{field.name: one[field.name] for field in attrs.fields(KeyState)})


def leases(
    connection: sqlite3.Connection, name: str | None, holder: str | None, now: float
) -> list[Lease]:
    """Who holds what, in the order of names: of one name, of one holder, or all."""
    where, arguments = ["until > ?"], [now, *(one for one in (name, holder) if one is not None)]
    if name is not None:
        where.append("name = ?")
    if holder is not None:
        where.append("holder = ?")
    rows = connection.execute(select("leases", "WHERE " + " AND ".join(where)), arguments)
    return [Lease(**_named(LEASE, checked("leases", row))) for row in rows]


def revoked(connection: sqlite3.Connection, ids: Sequence[str], now: float) -> list[str]:
    """Those of these ids that are revoked, in the order asked for."""
    found = []
    for id_ in dict.fromkeys(ids):
        row = connection.execute(select("revocations", "WHERE id = ?"), (id_,)).fetchone()
        if row is not None:
            expires = checked("revocations", row)[2]
            if expires is None or expires > now:
                found.append(id_)
    return found


@attrs.frozen
class Revocation:
    """An id that is good no more. Times are seconds since 1970."""

    id: str
    since: float
    expires: float | None
    """When it would have expired by itself; None: never."""


def revocations(
    connection: sqlite3.Connection, after: str, limit: int, now: float
) -> list[Revocation]:
    """Revoked ids in their order, those after one."""
    rows = connection.execute(
        select("revocations", "WHERE id > ? AND (expires IS NULL OR expires > ?)") + " LIMIT ?",
        (after, now, limit),
    )
    return [Revocation(*checked("revocations", row)) for row in rows]


STATES = ("queued", "running", "completed", "failed", "cancelled", "unknown")


def check_states(states: Sequence[str]) -> None:
    """Raises InvalidArguments for a state that no task has."""
    for state in states:
        if state not in STATES:
            raise InvalidArguments(f"no task is {state!r:.40}, expected one of {', '.join(STATES)}")


def _tasks(
    connection: sqlite3.Connection, where: str, arguments: Sequence[Any], limit: int
) -> list[Task]:
    narrow = connection.execute(select("tasks", where) + " LIMIT ?", (*arguments, limit)).fetchall()
    return [_task(connection, _named(TASK, checked("tasks", row))) for row in narrow]


def _task(connection: sqlite3.Connection, one: dict[str, Any], *, whole: bool = True) -> Task:
    payload, progress, result = (_contents if whole else _outline)(connection, one["number"])
    same = ("number", "id", "queue", "state", "holder", "fence", "until", "attempt", "submitted")
    return Task(
        **{name: one[name] for name in (*same, "changed", "expires")},
        owner=(one["scheme"], one["owner"]),
        cancel=bool(one["cancel"]),
        payload=payload,
        progress=progress,
        result=result,
    )


def _contents(connection: sqlite3.Connection, number: int) -> tuple[bytes, bytes, bytes]:
    query = select("task_contents", "WHERE number = ?")
    _, *contents = checked("task_contents", connection.execute(query, (number,)).fetchone())
    return contents[0], contents[1], contents[2]


def _outline(connection: sqlite3.Connection, number: int) -> tuple[bytes, bytes, bytes]:
    row = connection.execute(
        "SELECT CASE WHEN length(payload) <= 65536 THEN payload ELSE x'' END, progress"
        " FROM task_contents WHERE number = ?",
        (number,),
    ).fetchone()
    return row[0], row[1], b""


def _named(columns: Sequence[str], row: Row) -> dict[str, Any]:
    return dict(zip(columns, row, strict=True))
