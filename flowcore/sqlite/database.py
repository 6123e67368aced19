"""Opening a SQLite file: made if it is not there, refused with a reason if it cannot be trusted.

Settings follow SQLite's documentation of WAL mode (sqlite.org/wal.html): with `synchronous = FULL` a commit
is on disk when it returns; with `NORMAL` it is whole after a crash, and on disk after the next checkpoint.
"""

from __future__ import annotations

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
    """Statements that make it; also what an opened file is compared with."""


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
    there = path is not None and path.exists()
    try:
        if path is not None and not there:  # for its owner alone, and so the files beside it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(
            ":memory:" if path is None else path,
            timeout=0.0 if exclusive else 10.0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except (sqlite3.Error, OSError) as error:
        raise StorageFailed(f"{path} cannot be opened: {error}") from error
    try:
        _settle(connection, format_, path, exclusive, synchronous)
        if path is not None and path.stat().st_size <= whole:
            (told,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if told != "ok":
                raise UntrustedFile(f"{path} is damaged: {' '.join(str(told).split())}")
    except sqlite3.Error as error:
        connection.close()
        raise _told(error, format_, path) from error
    except BaseException:
        connection.close()
        raise
    if path is not None and not there:
        sync_folder(path.parent)
    return connection


def _settle(
    connection: sqlite3.Connection,
    format_: Format,
    path: pathlib.Path | None,
    exclusive: bool,
    synchronous: str,
) -> None:
    run = connection.execute
    run("PRAGMA trusted_schema = OFF")
    run("PRAGMA cell_size_check = ON")
    if path is not None:
        if exclusive:
            run("PRAGMA locking_mode = EXCLUSIVE")
        (mode,) = run("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageFailed(
                f"{path} cannot be opened in WAL mode: its file system does not allow it"
            )
        run(f"PRAGMA synchronous = {synchronous}")
    (application,) = run("PRAGMA application_id").fetchone()
    (version,) = run("PRAGMA user_version").fetchone()
    found = run("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
    if not application and not version and not found:
        with writing(connection):
            for statement in format_.schema:
                run(statement)
            run(f"PRAGMA application_id = {format_.application_id}")
            run(f"PRAGMA user_version = {format_.version}")
        return
    if application != format_.application_id:
        raise UntrustedFile(
            f"{path} is no flowcore {format_.name}: its application id is {application}"
        )
    if version > format_.version:
        raise UntrustedFile(
            f"{path} is a {format_.name} of version {version}, made by a newer flowcore;"
            f" this one knows {format_.version}"
        )
    if version != format_.version or tuple(sql for (sql,) in found) != format_.schema:
        raise UntrustedFile(
            f"{path} is not made as a {format_.name} of version {version} is: it is damaged"
        )


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


def _told(error: sqlite3.Error, format_: Format, path: pathlib.Path | None) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if is_full(error):
        return StorageFull(f"there is no room on the disk for {path}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageFailed(f"{path} is in use by another process")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_FORMAT")):
        return UntrustedFile(f"{path} is no {format_.name} that can be read: {error}")
    return StorageFailed(f"{path} cannot be opened: {error} ({name or type(error).__name__})")
