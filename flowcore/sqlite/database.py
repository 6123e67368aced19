"""Opening a SQLite file: made if it is not there, refused with a reason if it cannot be trusted.

Settings follow SQLite's documentation of WAL mode (sqlite.org/wal.html): with `synchronous = FULL` a commit
is on disk when it returns; with `NORMAL` it is whole after a crash, and on disk after the next checkpoint.
"""

from __future__ import annotations

import errno
import os
import pathlib
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import attrs

from flowcore.errors import StorageFailed, StorageFull, UntrustedFile

CHECKED_WHOLE = 256 * 2**20
"""Bytes up to which a file is checked whole when it is opened; a larger one only as its rows are read."""


@attrs.frozen(kw_only=True)
class Format:
    """What a file is to be."""

    name: str
    """For a person, such as `log`."""
    application_id: int
    """Tells flowcore's kinds of files apart (the pragma of that name)."""
    version: int
    schema: tuple[str, ...]
    """Statements that make its version 1, or the only one; also what an opened file is compared with."""
    added: tuple[tuple[str, ...], ...] = ()
    """Statements that make each later version of the one before: an older file gets what it lacks."""

    def statements(self, version: int) -> list[str]:
        """What a file of a version is made by."""
        first = self.version - len(self.added)
        later = self.added[: max(0, version - first)]
        return [*self.schema, *(each for some in later for each in some)]


def open_database(
    path: pathlib.Path | None,
    format_: Format,
    *,
    exclusive: bool,
    synchronous: Literal["FULL", "NORMAL"],
    whole: int = CHECKED_WHOLE,
) -> sqlite3.Connection:
    """A connection to a file of this format, in WAL mode and autocommit; None: one in memory.

    A file of `whole` bytes at most is checked whole (pages, indexes).
    It may be used by any thread, one at a time. `exclusive` keeps every other connection out. Raises
    UntrustedFile with the reason, StorageFull, StorageFailed.
    """
    try:
        if path is not None and not path.exists():
            _make(path, format_)
        connection = _connect(path, exclusive)
    except (sqlite3.Error, OSError) as error:
        raise _told(error, format_, path) from error
    try:
        if path is None:
            _fill(connection, format_)
        else:
            _settle(connection, format_, path, exclusive, synchronous)
            if path.stat().st_size <= whole:
                _check_whole(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _told(error, format_, path) from error
    except UnicodeDecodeError as error:  # of a name, or of what SQLite says about one
        connection.close()
        raise UntrustedFile(f"{path} is no {format_.name} that can be read: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: pathlib.Path | None, exclusive: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        ":memory:" if path is None else path,
        timeout=0.0 if exclusive else 10.0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _make(path: pathlib.Path, format_: Format) -> None:
    """Make the file under another name first: under its own it is whole, or not there."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise UntrustedFile(f"{path} is gone, and {log.name} is what is left of it")
    new = path.with_name(path.name + ".new")
    for left in (new, new.with_name(new.name + "-journal")):
        left.unlink(missing_ok=True)  # by a crash
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # its owner's alone, for good
    connection = _connect(new, exclusive=True)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        _fill(connection, format_)
    finally:
        connection.close()
    new.rename(path)
    sync_folder(path.parent)


def _fill(connection: sqlite3.Connection, format_: Format) -> None:
    with writing(connection):
        for statement in format_.statements(format_.version):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {format_.application_id}")
        connection.execute(f"PRAGMA user_version = {format_.version}")


def _settle(
    connection: sqlite3.Connection,
    format_: Format,
    path: pathlib.Path,
    exclusive: bool,
    synchronous: str,
) -> None:
    run = connection.execute
    run("PRAGMA trusted_schema = OFF")
    run("PRAGMA cell_size_check = ON")
    if exclusive:
        run("PRAGMA locking_mode = EXCLUSIVE")
    (mode,) = run("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StorageFailed(f"{path} cannot be in WAL mode: its file system does not allow it")
    run(f"PRAGMA synchronous = {synchronous}")
    (application,) = run("PRAGMA application_id").fetchone()
    (version,) = run("PRAGMA user_version").fetchone()
    if application != format_.application_id:
        said = f"its application id is {application}" if application else "it is empty"
        raise UntrustedFile(f"{path} is no flowcore {format_.name}: {said}")
    if version > format_.version:
        raise UntrustedFile(
            f"{path} is a {format_.name} of version {version}, made by a newer flowcore;"
            f" this one knows {format_.version}"
        )
    run("BEGIN IMMEDIATE")
    run(
        f"PRAGMA user_version = {version}"
    )  # whether it can be written is known before the first command
    run("ROLLBACK")
    found = sorted(
        str(sql) for (sql,) in run("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    )
    known = format_.version - len(format_.added) <= version
    if not known or found != sorted(format_.statements(version)):
        raise UntrustedFile(
            f"{path} is not made as a {format_.name} of version {version} is: it is damaged"
        )
    if version < format_.version:
        with writing(connection):
            for statement in format_.statements(format_.version)[len(found) :]:
                run(statement)
            run(f"PRAGMA user_version = {format_.version}")


def _check_whole(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    (told,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if told != "ok":
        raise UntrustedFile(f"{path} is damaged: {' '.join(str(told).split())}")


@contextmanager
def writing(connection: sqlite3.Connection) -> Generator[None]:
    """One transaction: all that is done in the block is there, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(path: pathlib.Path | None) -> Generator[None]:
    """What fails in the block is told as a file that cannot be read. Raises UntrustedFile."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise UntrustedFile(f"{path} cannot be read: {error}") from error


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk had no room: the transaction is rolled back then, and nothing is broken."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def sync_folder(folder: pathlib.Path) -> None:
    """Make the names in a folder durable, so that a new file is still there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told(error: sqlite3.Error | OSError, format_: Format, path: pathlib.Path | None) -> Exception:
    if isinstance(error, OSError):
        if error.errno == errno.ENOSPC:
            return StorageFull(f"there is no room on the disk for {path}")
        return StorageFailed(f"{path} cannot be opened: {error}")
    name = getattr(error, "sqlite_errorname", "")
    if is_full(error):
        return StorageFull(f"there is no room on the disk for {path}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageFailed(f"{path} is in use by another process")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_FORMAT")):
        return UntrustedFile(f"{path} is no {format_.name} that can be read: {error}")
    return StorageFailed(f"{path} cannot be opened: {error} ({name or type(error).__name__})")
