"""What a server keeps on its simulated disk: a journal of the engine's writes, and one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from flowcore.state import LogEntry, SnapshotInfo
from flowcore.testing import Host, Journal

LOG, SNAPSHOT = "log", "snapshot"


class Record(msgspec.Struct, array_like=True, gc=False):
    """One write of the engine, or, after a compaction, all that is left of the writes before."""

    reset: tuple[int, int] | None
    entries: list[LogEntry]
    hard_state: bytes | None
    compact: int | None


class Picture(msgspec.Struct, array_like=True, gc=False):
    """A snapshot as it stands on the disk."""

    position: int
    term: int
    about: bytes
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_record = msgspec.msgpack.Decoder(Record).decode
_picture = msgspec.msgpack.Decoder(Picture).decode


class Contents:
    """A log with its hard state, as writes make it."""

    def __init__(self) -> None:
        self.start = self.start_term = 0
        self.entries: list[LogEntry] = []
        self.hard_state = b""

    @property
    def last(self) -> int:
        return self.start + len(self.entries)

    def term(self, position: int) -> int | None:
        if position == self.start:
            return self.start_term
        if self.start < position <= self.last:
            return self.entries[position - self.start - 1].term
        return None

    def apply(self, record: Record) -> None:
        if record.reset is not None:
            self.start, self.start_term = record.reset
            self.entries = []
        if record.entries:
            first = record.entries[0].position
            if not self.start < first <= self.last + 1:
                raise AssertionError(f"entries from {first} on do not follow {self.last}")
            del self.entries[first - self.start - 1 :]
            self.entries += record.entries
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if record.compact is not None and record.compact > self.start:
            term = self.term(record.compact)
            assert term is not None, f"it compacts to {record.compact}, and {self.last} is the last"
            del self.entries[: record.compact - self.start]
            self.start, self.start_term = record.compact, term

    def whole(self) -> Record:
        """One record that makes all of it."""
        reset = (self.start, self.start_term) if self.start else None
        return Record(reset, list(self.entries), self.hard_state or None, None)


class Store:
    """The disk of one life of a server. Raises UntrustedFile where the disk is damaged."""

    def __init__(self, host: Host) -> None:
        self._disk = host.disk
        self._log = Journal(host.disk, LOG)
        self.stored = Contents()
        """As the process sees it."""
        for record in self._log.records:
            self.stored.apply(_record(record))
        self.durable = Contents()
        """What no crash can take away any more."""
        self.durable.apply(self.stored.whole())
        pictures = Journal(host.disk, SNAPSHOT).records
        self.picture: Picture | None = _picture(pictures[-1]) if pictures else None
        self.durable_picture = self.picture

    @property
    def info(self) -> SnapshotInfo | None:
        """What the snapshot holds."""
        found = self.picture
        if found is None:
            return None
        return SnapshotInfo(position=found.position, term=found.term, about=found.about)

    def write(self, write: Any, done: Callable[[OSError | None], None]) -> None:
        """Keep a write of the engine. Raises OSError if the disk is full."""
        record = Record(write.reset, write.entries, write.hard_state, write.compact)
        self._log.append(_encode(record))
        self.stored.apply(record)
        if write.reset is not None or write.compact is not None:
            self._log.rewrite([_encode(self.stored.whole())])

        def synced(error: OSError | None) -> None:
            if error is None:
                self.durable.apply(record)
            done(error)

        self._log.sync(synced)

    def save(self, info: SnapshotInfo, data: bytes, done: Callable[[OSError | None], None]) -> None:
        """Keep a snapshot in the place of an older one. Raises OSError if the disk is full."""
        if self.picture is None or info.position > self.picture.position:
            picture = Picture(info.position, info.term, info.about, data)
            Journal(self._disk, SNAPSHOT).rewrite([_encode(picture)])
            self.picture = picture
        picture = self.picture

        def synced(error: OSError | None) -> None:
            if error is None:
                self.durable_picture = picture
            done(error)

        self._disk.sync(synced)

    def read(self, first: int, last: int) -> list[LogEntry]:
        """Entries as they are stored; none if the first is compacted."""
        contents = self.stored
        if first <= contents.start:
            return []
        return contents.entries[first - contents.start - 1 : last - contents.start]
