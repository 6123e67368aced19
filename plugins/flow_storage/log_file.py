"""A log in a SQLite file: what is done in the thread of `sqlite`."""

from __future__ import annotations

import pathlib
import sqlite3
import struct
import uuid
import zlib
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from time import perf_counter

import msgspec

from flow_storage.room import Room
from flow_storage.sealing import PLAIN, Seals
from flowcore.errors import StorageFailed, StorageFull, TooOld, UntrustedFile
from flowcore.sqlite import Format, damaged, is_full, open_database, reading, row_hash, writing
from flowcore.state import LogEntry, SnapshotInfo
from flowcore.telemetry import Histogram

FORMAT = Format(
    name="log",
    application_id=0x464C4F47,  # "FLOG"
    version=1,
    schema=(
        # `key` numbers the key that `data` is sealed with (`sealing`); 0: none
        'CREATE TABLE log (position INTEGER PRIMARY KEY, term INTEGER NOT NULL, "key" INTEGER NOT NULL,'
        " data BLOB NOT NULL, hash INTEGER NOT NULL)",
        "CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL, hash INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE chunks (slot INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,"
        " hash INTEGER NOT NULL, PRIMARY KEY (slot, number)) WITHOUT ROWID",
    ),
)
_SLICE = 2000
"""Entries that one transaction of `compact` lets go of."""
_RESEALED = 500
"""Entries that one transaction seals again."""
_WAL_PAGES = 3000
"""Pages of the write-ahead log after which they are moved into the file, by the commit that is there then."""
_APART = 2000
"""Up to so many more, another number for each log: nodes that write the same do not all do it at once."""

_KEY = struct.Struct(">I")

_encode = msgspec.msgpack.encode


class LogFile:
    """The file, open. Every method but the properties blocks; one thread at a time."""

    def __init__(self, path: pathlib.Path, seals: Seals | None = None) -> None:
        """`seals` has the keys, if what it holds is, or is to be, encrypted."""
        self._path = path
        self.seals = Seals() if seals is None else seals
        self.fsyncs = Histogram()
        """How long each transaction took to be on disk: what it adds written, and the fsync."""
        self._connection = open_database(path, FORMAT, exclusive=True, synchronous="FULL")
        try:
            if self.seals:  # what was in the clear is not to be found where it stood
                self._connection.execute("PRAGMA secure_delete = ON")
            with reading(path):
                self._load()
            pages = _WAL_PAGES + zlib.crc32(self.identity.encode()) % _APART
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
            self.room = Room(path.with_name(path.name + "-wal"))
        except BaseException:
            self._connection.close()
            raise

    def _load(self) -> None:
        kept = dict(self._kept())
        if "identity" not in kept:
            if kept or self._ends() != (None, None):
                raise UntrustedFile(f"{self._path} has entries and no identity: it is damaged")
            kept = {"identity": uuid.uuid4().hex.encode(), "compacted": _encode((0, 0))}
            with writing(self._connection):
                for name, value in kept.items():
                    self._keep(name, value)
        try:
            self.identity = kept["identity"].decode()
            position, term = msgspec.msgpack.decode(kept["compacted"], type=tuple[int, int])
        except (KeyError, ValueError) as error:
            raise UntrustedFile(f"{self._path} does not say what it is: it is damaged") from error
        self.compacted = (position, term)
        self.hard_state = kept.get("hard_state", b"")
        self._use(kept.get("keys"), empty="snapshot" not in kept and self._ends() == (None, None))
        self._slot, self.snapshot, self._chunks, self._sealed = _snapshot_of(
            kept.get("snapshot"), self._path
        )
        first, last = self._ends()
        count = self._connection.execute("SELECT count(*) FROM log").fetchone()[0]
        self.last = position if last is None else last
        if count and (first != position + 1 or count != self.last - position):
            raise UntrustedFile(
                f"{self._path} has {count} entries from {first} to {last}, after {position}: some are missing"
            )

    def _use(self, stored: bytes | None, *, empty: bool) -> None:
        """Make sure that all keys are there, and note the one that is used from now on."""
        try:
            used = [] if stored is None else msgspec.msgpack.decode(stored, type=list[int])
        except ValueError as error:
            raise UntrustedFile(
                f"{self._path} does not say what it is encrypted with: it is damaged"
            ) from error
        self.seals.check([one for one in used if one != PLAIN], self._path)
        self.keys: list[int] = used
        """The keys that something in it is sealed with, and `PLAIN`; none: nothing was ever sealed."""
        if not self.seals or self.seals.current in used:
            return
        plain = [] if used or empty else [PLAIN]
        self.keys = [*plain, *used, self.seals.current]
        with writing(self._connection):
            self._keep("keys", _encode(self.keys))

    def _kept(self) -> Generator[tuple[str, bytes]]:
        for name, value, hash_ in self._connection.execute("SELECT name, value, hash FROM kept"):
            if row_hash(name, value) != hash_:
                raise damaged("kept", name)
            yield name, value

    def _ends(self) -> tuple[int | None, int | None]:
        first, last = self._connection.execute(
            "SELECT min(position), max(position) FROM log"
        ).fetchone()
        return first, last

    def _keep(self, name: str, value: bytes) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (name, value, row_hash(name, value))
        )

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            with writing(self._connection):
                yield
                began = perf_counter()
            self.fsyncs.record(perf_counter() - began)
        except sqlite3.Error as error:
            if is_full(error):
                raise StorageFull(f"there is no room on the disk for {self._path}") from error
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StorageFailed(f"{self._path} cannot be written: {error} ({name})") from error

    # ---- the log

    def append(self, entries: Sequence[LogEntry], hard_state: bytes | None) -> None:
        if entries:
            self._check(entries)
        with self._writing():
            if entries and entries[0].position <= self.last:
                self._connection.execute(
                    "DELETE FROM log WHERE position >= ?", (entries[0].position,)
                )
            self._connection.executemany(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?)", map(self._row, entries)
            )
            if hard_state is not None:
                self._keep("hard_state", hard_state)
        if entries:
            self.last = entries[-1].position
        if hard_state is not None:
            self.hard_state = hard_state
        self.room.look()

    def _row(self, one: LogEntry) -> tuple[int, int, int, bytes, int]:
        """An entry as it stands in the file."""
        data, key = one.data, self.seals.current
        if key:
            data = self.seals.seal(data, self.identity, "entry", one.position, one.term)
        return one.position, one.term, key, data, row_hash(one.position, one.term, key, data)

    def _check(self, entries: Sequence[LogEntry]) -> None:
        first = entries[0].position
        if not self.compacted[0] < first <= self.last + 1:
            raise ValueError(
                f"entry {first} does not follow: the log has {self.compacted[0] + 1} to {self.last}"
            )
        if any(one.position != first + at for at, one in enumerate(entries)):
            raise ValueError(f"the entries from {first} on do not follow each other")

    def read(self, first: int, last: int, limit: int) -> list[LogEntry]:
        if first <= self.compacted[0]:
            raise TooOld(
                f"entry {first} is not kept any more: the log begins after {self.compacted[0]}"
            )
        taken: list[LogEntry] = []
        query = (
            'SELECT position, term, "key", data, hash FROM log WHERE position BETWEEN ? AND ?'
            " ORDER BY position"
        )
        with reading(self._path), closing(self._connection.execute(query, (first, last))) as rows:
            for position, term, key, data, hash_ in rows:
                if row_hash(position, term, key, data) != hash_:
                    raise damaged("log", position)
                if position != first + len(taken):
                    raise UntrustedFile(f"entry {first + len(taken)} of {self._path} is missing")
                if key:
                    data = self.seals.open(data, key, self.identity, "entry", position, term)
                limit -= len(data)
                if taken and limit < 0:
                    break
                taken.append(LogEntry(position, term, data))
        return taken

    def compact(self, position: int) -> bool:
        """Let go of some entries; whether there are more to let go of."""
        until = min(position, self.last, self.compacted[0] + _SLICE)
        if until <= self.compacted[0]:
            return False
        (entry,) = self.read(until, until, 0)
        with self._writing():
            self._connection.execute("DELETE FROM log WHERE position <= ?", (until,))
            self._keep("compacted", _encode((until, entry.term)))
        self.compacted = (until, entry.term)
        return until < min(position, self.last)

    def reset(self, position: int, term: int) -> None:
        with self._writing():
            self._connection.execute("DELETE FROM log")
            self._keep("compacted", _encode((position, term)))
        self.compacted, self.last = (position, term), position

    # ---- snapshots: the one that is whole, and the one that is being written

    def begin_snapshot(self) -> int:
        slot = 1 - self._slot
        with self._writing():
            self._connection.execute("DELETE FROM chunks WHERE slot = ?", (slot,))
        return slot

    def put_chunk(self, slot: int, number: int, data: bytes) -> None:
        with self._writing():
            self._put_chunk(slot, number, data)

    def _put_chunk(self, slot: int, number: int, data: bytes) -> None:
        if self.seals:
            sealed = self.seals.seal(data, self.identity, "piece", slot, number)
            data = _KEY.pack(self.seals.current) + sealed
        self._connection.execute(
            "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)",
            (slot, number, data, row_hash(slot, number, data)),
        )

    def end_snapshot(self, slot: int, info: SnapshotInfo, chunks: int) -> None:
        sealed = bool(self.seals)
        value = _encode(_Snapshot(slot, info.position, info.term, info.about, chunks, sealed))
        with self._writing():
            self._keep("snapshot", value)
            self._connection.execute("DELETE FROM chunks WHERE slot <> ?", (slot,))
        self._slot, self.snapshot, self._chunks, self._sealed = slot, info, chunks, sealed

    def snapshot_slot(self) -> int:
        if self.snapshot is None:
            raise TooOld(f"{self._path} has no snapshot")
        return self._slot

    def chunk(self, slot: int, number: int) -> bytes | None:
        """One chunk of a snapshot, None after the last."""
        if slot != self._slot:
            raise TooOld(f"another snapshot has taken the place of this one in {self._path}")
        if number >= self._chunks:
            return None
        with reading(self._path):
            found = self._connection.execute(
                "SELECT data, hash FROM chunks WHERE slot = ? AND number = ?", (slot, number)
            ).fetchone()
        if found is None:
            raise UntrustedFile(f"chunk {number} of the snapshot in {self._path} is missing")
        data: bytes = found[0]
        if row_hash(slot, number, data) != found[1]:
            raise damaged("chunks", number)
        if not self._sealed:
            return data
        (key,) = _KEY.unpack_from(data)
        return self.seals.open(data[_KEY.size :], key, self.identity, "piece", slot, number)

    # ---- keys

    def reseal(self, after: int) -> int | None:
        """Seal some entries after a position again that are not sealed with the first key; how far it came.

        None at the end, with the snapshot done too: then nothing is sealed with another key any more.
        """
        rows = self._connection.execute(
            'SELECT position FROM log WHERE position > ? AND "key" <> ? ORDER BY position LIMIT ?',
            (after, self.seals.current, _RESEALED),
        ).fetchall()
        entries = [entry for (at,) in rows for entry in self.read(at, at, 0)]
        if entries:
            with self._writing():
                self._connection.executemany(
                    "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?)", map(self._row, entries)
                )
            return entries[-1].position
        if self.snapshot is not None:
            self._reseal_snapshot(self.snapshot)
        with self._writing():
            self._keep("keys", _encode([self.seals.current]))
        self.keys = [self.seals.current]
        return None

    def _reseal_snapshot(self, info: SnapshotInfo) -> None:
        """In its place, in one transaction."""
        pieces = range(self._chunks)
        with self._writing():
            for number in pieces:
                piece = self.chunk(self._slot, number)
                assert piece is not None
                self._put_chunk(self._slot, number, piece)
            value = _Snapshot(
                self._slot, info.position, info.term, info.about, self._chunks, sealed=True
            )
            self._keep("snapshot", _encode(value))
        self._sealed = True

    # ----

    def size(self) -> int:
        """Bytes on disk."""
        paths = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def close(self) -> None:
        self._connection.close()


class _Snapshot(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The snapshot that is whole."""

    slot: int
    position: int
    term: int
    about: bytes
    chunks: int
    sealed: bool = False
    """Whether each piece begins with the number of the key that it is sealed with."""


def _snapshot_of(
    value: bytes | None, path: pathlib.Path
) -> tuple[int, SnapshotInfo | None, int, bool]:
    """The slot that is whole, what it holds, its pieces, and whether they are sealed."""
    if value is None:
        return 1, None, 0, False
    try:
        one = msgspec.msgpack.decode(value, type=_Snapshot)
    except ValueError as error:
        raise UntrustedFile(f"{path} does not say which snapshot it has: it is damaged") from error
    info = SnapshotInfo(position=one.position, term=one.term, about=one.about)
    return one.slot, info, one.chunks, one.sealed
