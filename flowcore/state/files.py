"""The state's file: one connection that writes, a few that read, or one for all where it is in memory.

The file is written without an fsync for each batch: after a crash it is whole, and the log has what it
lacks. A checkpoint makes it durable, and only then may the log let go.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from flowcore.errors import StorageFailed, UntrustedFile
from flowcore.sqlite import open_database, row_hash
from flowcore.state.schema import STATE

T = TypeVar("T")

FILE = "state.sqlite"
"""Its name in the node's data folder."""
READERS = 4
"""Reads at a time."""


class StateFile:
    """The database, open. Every method blocks."""

    def __init__(self, path: pathlib.Path | None) -> None:
        self.path = path
        self._lock = None if path is None else _locked(path)
        self._readers: list[sqlite3.Connection] = []
        self._all: list[sqlite3.Connection] = []
        self._memory = threading.Lock()
        try:
            self.writer = open_database(path, STATE, exclusive=False, synchronous="NORMAL")
            self._all.append(self.writer)
        except BaseException:
            self.close()
            raise

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
            connection = self._reader()
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise UntrustedFile(f"{self.path} cannot be read: {error}") from error
        finally:
            self._readers.append(connection)

    def _reader(self) -> sqlite3.Connection:
        assert self.path is not None
        made = sqlite3.connect(
            self.path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
        made.execute("PRAGMA query_only = ON")
        self._all.append(made)
        return made

    def write(self, work: Callable[[], T]) -> T:
        """Do what changes the tables, while nobody reads where there is only one connection."""
        if self.path is None:
            with self._memory:
                return work()
        return work()

    def checkpoint(self) -> bool:
        """Make durable what has been written; whether it is, for a reader may stand in the way."""
        if self.path is None:
            return True
        busy, pages, moved = self.writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and pages == moved

    def belongs_to(self, identity: str) -> None:
        """Remember which log this state was made by. Raises UntrustedFile for another one's."""
        found = self.writer.execute("SELECT value, hash FROM local WHERE name = 'log'").fetchone()
        if found is None:
            values = ("log", identity)
            self.writer.execute("INSERT INTO local VALUES (?, ?, ?)", (*values, row_hash(*values)))
        elif row_hash("log", found[0]) != found[1]:
            raise UntrustedFile(f"{self.path} does not say which log it belongs to: it is damaged")
        elif found[0] != identity:
            raise UntrustedFile(
                f"{self.path} was made by log {found[0]}, and this is {identity}: they do not belong together"
            )

    def size(self) -> int:
        """Bytes on disk, or in memory."""
        if self.path is None:
            (pages,) = self.writer.execute("PRAGMA page_count").fetchone()
            return int(pages) * 4096
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
