"""The state's file: one connection that writes, a few that read, or one for all where it is in memory.

The file is written without an fsync for each batch: after a crash it is whole, and the log has what it
lacks. A checkpoint makes it durable, and only then may the log let go. It has a connection of its own, so
that what is applied meanwhile does not wait for the disk.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import TypeVar

from flowcore.errors import StorageFailed, StorageFull, UntrustedFile
from flowcore.sqlite import is_full, open_database, reading, row_hash, writing
from flowcore.state.schema import STATE, TABLES, insert, select
from flowcore.state.sealed import PLACES, Cells, Seals
from flowcore.state.tables import checked

T = TypeVar("T")

FILE = "state.sqlite"
"""Its name in the node's data folder."""
CHECKED_WHOLE = 32 * 2**20
"""Bytes up to which every page and row is looked at before the file is used; a larger one is looked through
while it is."""
_AGAIN = 500
"""Rows that are sealed again in one go."""
READERS = 4
"""Reads at a time."""
_LONG = 4000
"""Pages of the write-ahead log, never written from its beginning again as somebody was always ahead of the
checkpoint, after which who writes has to wait for one."""


class StateFile:
    """The database, open. Every method blocks."""

    def __init__(self, path: pathlib.Path | None, seals: Seals | None = None) -> None:
        """`seals` has the keys, if what it holds is, or is to be, encrypted.

        Raises UntrustedFile, StorageFailed, StorageFull.
        """
        self.path = path
        self._cells = Cells(seals) if seals and path is not None else None
        self.checked = False
        """Whether all of it was looked at when it was opened."""
        self.long = False
        """Whether the write-ahead log has become so long that who writes should wait for a checkpoint."""
        self._lock = None if path is None else _locked(path)
        self._readers: list[sqlite3.Connection] = []
        self._all: list[sqlite3.Connection] = []
        self._memory = threading.Lock()
        try:
            self.writer = open_database(
                path, STATE, exclusive=False, synchronous="NORMAL", whole=CHECKED_WHOLE
            )
            self._all.append(self.writer)
            self.writer.row_factory = self._cells
            sealed = self._local("sealed")
            if sealed is not None:
                _have(seals, int(sealed, 16), path)
            self.checked = path is None or self.size() <= CHECKED_WHOLE
            self._keeper = self.writer
            if path is not None:
                if self.checked:
                    with reading(path):
                        check_rows(self.writer)
                if self._cells is not None and seals:
                    self._seal(self._cells, sealed, f"{seals.current:08x}")
                self.writer.execute("PRAGMA wal_autocheckpoint = 0")
                self._keeper = self._another()
                self._keeper.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            self.close()
            raise

    @property
    def shared(self) -> bool:
        """Whether it can be read while it is written."""
        return self.path is not None

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A connection with a read transaction: what it sees does not change while it looks."""
        if self.path is None:
            with self._memory:
                yield self.writer
            return
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._another()
            connection.execute("PRAGMA query_only = ON")
        try:
            with reading(self.path):
                connection.execute("BEGIN")
                try:
                    connection.execute(
                        "SELECT position FROM meta"
                    ).fetchone()  # what is seen from now on
                    yield connection
                finally:
                    connection.execute("ROLLBACK")
        finally:
            self._readers.append(connection)

    def _another(self) -> sqlite3.Connection:
        assert self.path is not None
        made = sqlite3.connect(
            self.path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        made.row_factory = self._cells
        self._all.append(made)
        return made

    def write(self, work: Callable[[], T]) -> T:
        """Do what changes the tables, while nobody reads where there is only one connection."""
        if self.path is None:
            with self._memory:
                return work()
        return work()

    def checkpoint(self, *, last: bool = False) -> bool:
        """Make durable what had been written. Whether it is: a reader or a full disk may stand in the way.

        In any thread, one at a time; `last` is for the one that writes, once that is `long`.
        """
        if self.path is None:
            return True
        connection = self.writer if last else self._keeper
        try:
            busy, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            return False
        self.long = pages > _LONG
        return not busy and pages == moved

    def belongs_to(self, identity: str) -> None:
        """Remember which log this state was made by. Raises UntrustedFile for another one's."""
        found = self._local("log")
        if found is None:
            self._note("log", identity)
        elif found != identity:
            raise UntrustedFile(
                f"{self.path} was made by log {found}, and this is {identity}: they do not belong together"
            )

    def _local(self, name: str) -> str | None:
        """What this file says of itself. Raises UntrustedFile."""
        with reading(self.path):
            found = self.writer.execute(
                "SELECT value, hash FROM local WHERE name = ?", (name,)
            ).fetchone()
        if found is None:
            return None
        if row_hash(name, found[0]) != found[1]:
            said = "which log it belongs to" if name == "log" else f"what is {name}"
            raise UntrustedFile(f"{self.path} does not say {said}: it is damaged")
        return str(found[0])

    def _note(self, name: str, value: str) -> None:
        row = (name, value, row_hash(name, value))
        self.writer.execute("REPLACE INTO local VALUES (?, ?, ?)", row)

    def _seal(self, cells: Cells, before: str | None, key: str) -> None:
        """Have all stand in the file as the first key leaves it, and nothing of what stood there before."""
        run = self.writer.execute
        try:
            if before != key:
                with writing(self.writer):
                    for table in PLACES:
                        _seal_rows(self.writer, cells, table)
                    self._note("sealed", key)
                    self._note("unclean", "yes")
            if self._local("unclean") is not None:
                run("VACUUM")
                run("PRAGMA wal_checkpoint(TRUNCATE)")
                run("DELETE FROM local WHERE name = 'unclean'")
        except sqlite3.Error as error:
            if is_full(error):
                raise StorageFull(f"there is no room on the disk to encrypt {self.path}") from error
            raise StorageFailed(f"{self.path} cannot be encrypted: {error}") from error

    def size(self) -> int:
        """Bytes on disk."""
        if self.path is None:
            return 0
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        """Close everything; what is not durable yet the log has."""
        for connection in reversed(self._all):
            connection.close()
        self._all.clear()
        self._readers.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _have(seals: Seals | None, key: int, path: pathlib.Path | None) -> None:
    """Whether the key that a file is sealed with is there. Raises UntrustedFile."""
    if seals is None:
        raise UntrustedFile(f"{path} is encrypted with key {key:08x}, and the storage has none")
    seals.check((key,), path)


def _seal_rows(connection: sqlite3.Connection, cells: Cells, table: str) -> None:
    """Write all rows of a table again, as the first key seals them."""
    key = TABLES[table][1]
    again = insert(table).replace("INSERT", "REPLACE", 1)
    last = -(2**63)
    query = select(table, f"WHERE {key} > ?") + " LIMIT ?"
    while rows := connection.execute(query, (last, _AGAIN)).fetchall():
        for row in rows:
            checked(table, row)
        connection.executemany(again, [cells.seal(table, row) for row in rows])
        last = rows[-1][0]


def check_rows(connection: sqlite3.Connection) -> None:
    """Look at every row. Raises UntrustedFile for one that is not what was written."""
    for table in TABLES:
        with closing(connection.execute(select(table))) as rows:
            for row in rows:
                checked(table, row)


def check_some(connection: sqlite3.Connection, table: str, after: int, count: int) -> int | None:
    """Look at some rows of a table of numbered rows; the last one's number, None at the end."""
    key = TABLES[table][1]
    last = None
    query = select(table, f"WHERE {key} > ?") + " LIMIT ?"
    for row in connection.execute(query, (after, count)).fetchall():
        last = checked(table, row)[0]
    return last


def _locked(path: pathlib.Path) -> int:
    """Keep other processes out as long as the descriptor is open. Raises StorageFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be opened: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StorageFailed(f"{path} is in use by another process") from error
    return descriptor
