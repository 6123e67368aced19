"""The state's rows as the machine changes them: one transaction, counted, every row with its hash."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import msgspec

from flowcore.errors import UntrustedFile
from flowcore.sqlite import damaged, row_hash
from flowcore.state.limits import Limits
from flowcore.state.schema import META, TABLES, put, select
from flowcore.state.sealed import cells_of

Row = tuple[Any, ...]


class Meta(msgspec.Struct, kw_only=True):
    """The one row of `meta`: where the state is, and how much is in it."""

    position: int = 0
    time: float = 0.0
    next_id: int = 1
    patterns: int = 0
    bytes: int = 0
    namespaces: int = 0
    removed: int = 0
    removed_to: int = 0
    """Changes up to this position can no longer be told: what was removed there is forgotten."""
    feedback: int = 0
    feedback_to: int = 0
    """Lessons of positions up to this one are not all kept."""
    next_feedback: int = 1
    sessions: int = 0
    answers: int = 0
    limits: Limits = msgspec.field(default_factory=Limits)

    def row(self) -> Row:
        values = [getattr(self, name) for name in META[1:-1]]
        return (1, *values, msgspec.msgpack.encode(self.limits))

    @classmethod
    def of(cls, row: Row) -> Meta:
        limits = msgspec.msgpack.decode(row[-1], type=Limits)
        return cls(**dict(zip(META[1:-1], row[1:-1], strict=True)), limits=limits)


class Undone(Exception):
    """Raised out of a batch: a command that has changed rows is refused, and nothing kept them as they were.

    The batch is to begin again, `undoing` what such commands do.
    """


class Tables:
    """The rows, through one connection. All changes are inside a `batch`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.meta = read_meta(connection)
        self._cells = cells_of(connection)
        self._spaces: dict[str, tuple[int, int]] = {}
        """Patterns and bytes of the namespaces that this batch has looked at."""
        self._changed: set[str] = set()
        self._due = -math.inf
        """Nothing expires, or is over, before that time."""
        self._changes = 0
        self._undoing = False

    @contextmanager
    def batch(self, *, undoing: bool) -> Generator[None]:
        """One transaction over all of it; whatever goes wrong, nothing has happened.

        `undoing`: a single command can be undone, too, whatever it has changed, which costs. Raises `Undone`
        where that is not so, and one has to be.
        """
        before = copy(self.meta)
        self._undoing = undoing
        run = self.connection.execute
        try:
            run("BEGIN IMMEDIATE")
            yield
            self._flush()
            self.put("meta", self.meta.row())
            run("COMMIT")
        except BaseException:
            self.meta, self._due = before, -math.inf
            if self.connection.in_transaction:
                run("ROLLBACK")
            raise
        finally:
            self._spaces.clear()
            self._changed.clear()

    @contextmanager
    def attempt(self) -> Generator[None]:
        """What one command does; where it raises, the command has done nothing."""
        before = copy(self.meta), dict(self._spaces), set(self._changed)
        undoing, changes, run = self._undoing, self._changes, self.connection.execute
        if undoing:
            run("SAVEPOINT command")
        try:
            yield
        except Exception as error:
            self.meta, self._spaces, self._changed = before
            if undoing:
                run("ROLLBACK TO command")
                run("RELEASE command")
            elif changes != self._changes:
                raise Undone from error
            raise
        if undoing:
            run("RELEASE command")

    # ---- rows

    def put(self, table: str, row: Row) -> None:
        """Insert a row, or replace the one of its key."""
        self._changes += 1
        whole: Sequence[Any] = (*row, row_hash(*row))
        if self._cells is not None:
            whole = self._cells.seal(table, whole)
        self.connection.execute(_PUT[table], whole)
        for at in _ENDS[table]:
            if row[at] is not None and row[at] < self._due:
                self._due = row[at]

    def get(self, table: str, where: str, arguments: Sequence[Any]) -> Row | None:
        """The first row that fits, without its hash. Raises UntrustedFile for a damaged one."""
        row = self.connection.execute(f"{select(table, where)} LIMIT 1", arguments).fetchone()
        return None if row is None else checked(table, row)

    def delete(self, table: str, where: str, arguments: Sequence[Any]) -> int:
        """Delete the rows that fit; how many there were."""
        self._changes += 1
        statement = f"DELETE FROM {table} {where}"  # our own names # noqa: S608 # nosec B608
        return self.connection.execute(statement, arguments).rowcount

    def column(self, query: str, arguments: Sequence[Any] = ()) -> list[Any]:
        """The first column of a query's rows."""
        return [row[0] for row in self.connection.execute(query, arguments)]

    def overdue(self) -> bool:
        """Whether something has expired, or is over, by the time of the commands."""
        if self.meta.time < self._due:
            return False
        (self._due,) = self.connection.execute(_EARLIEST).fetchone()
        return self.meta.time >= self._due

    def expires_by(self, time: float) -> bool:
        """Whether something may expire, or be over, when time has come to that; without looking for it."""
        return max(time, self.meta.time) >= self._due

    # ---- namespaces

    def space(self, name: str) -> tuple[int, int]:
        """Patterns and bytes of a namespace; (0, 0) if there is none of that name."""
        found = self._spaces.get(name)
        if found is None:
            row = self.get("namespaces", "WHERE name = ?", (name,))
            found = self._spaces[name] = (0, 0) if row is None else (row[1], row[2])
        return found

    def count(self, name: str, patterns: int, size: int) -> None:
        """So many patterns and bytes have come to a namespace, or gone from it."""
        if not (patterns or size):
            return
        before, held = self.space(name)
        after = before + patterns
        self._spaces[name] = (after, held + size)
        self._changed.add(name)
        self.meta.patterns += patterns
        self.meta.bytes += size
        self.meta.namespaces += (after > 0) - (before > 0)

    def largest(self) -> str | None:
        """The namespace with the most patterns, the first by name of several."""
        self._flush()
        found = self.column(
            "SELECT name FROM namespaces WHERE patterns = (SELECT max(patterns) FROM namespaces)"
            " ORDER BY name LIMIT 1"
        )
        return found[0] if found else None

    def _flush(self) -> None:
        for name in sorted(self._changed):
            patterns, size = self._spaces[name]
            if patterns:
                self.put("namespaces", (name, patterns, size))
            else:
                self.delete("namespaces", "WHERE name = ?", (name,))
        self._changed.clear()


_PUT = {table: put(table) for table in TABLES}
_ENDS = {
    table: [at for at, name in enumerate(columns) if name in ("expires", "until")]
    for table, (columns, _) in TABLES.items()
}
"""The columns of each table that say when a row is over; None: never."""
_EARLIEST = "SELECT min({})".format(
    ", ".join(
        f"ifnull((SELECT min({name}) FROM {table} WHERE {name} IS NOT NULL), 9e999)"  # noqa: S608 # nosec B608
        for table, places in _ENDS.items()
        for name in (TABLES[table][0][at] for at in places)
    )
)


def checked(table: str, row: Row) -> Row:
    """A row without its hash, if that is the hash of it. Raises UntrustedFile."""
    values = row[:-1]
    if row_hash(*values) != row[-1]:
        raise damaged(table, values[0])
    return values


def read_meta(connection: sqlite3.Connection) -> Meta:
    """Where the state is; a fresh one if it has applied nothing. Raises UntrustedFile."""
    rows = connection.execute(select("meta")).fetchall()
    if not rows:
        (found,) = connection.execute(
            "SELECT (SELECT count(*) FROM patterns) + (SELECT count(*) FROM feedback)"
            " + (SELECT count(*) FROM tasks) + (SELECT count(*) FROM keys)"
            " + (SELECT count(*) FROM leases) + (SELECT count(*) FROM revocations)"
        ).fetchone()
        if found:
            raise UntrustedFile("the state has rows, and does not say where it is: it is damaged")
        return Meta()
    return Meta.of(checked("meta", rows[0]))
