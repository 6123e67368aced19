"""Records on a simulated disk, each with a checksum: what an engine keeps there, and finds again.

A record that is torn is the last one, for writes reach the disk in order: it is cut off, for nobody was told
that it is durable. A bad one that sound ones follow was sound once: such a file is refused.
"""

from __future__ import annotations

import random
import zlib
from struct import Struct

from flowcore.errors import UntrustedFile
from flowcore.testing.world.disk import Disk, Synced

_HEAD = Struct("<4sII")
_MARK = b"\xf7rec"


class Journal:
    """Records in one file of a disk. Raises UntrustedFile where a record is rotten."""

    def __init__(self, disk: Disk, file: str = "journal") -> None:
        self._disk = disk
        self._file = file
        self.records = self._recovered()
        """What was there when it was opened, oldest first."""

    def append(self, record: bytes) -> None:
        """Add a record; durable after `sync`. Raises OSError if the disk is full."""
        self._disk.append(self._file, framed(record))

    def rewrite(self, records: list[bytes]) -> None:
        """Put other records in the place of all, whole or not at all."""
        self._disk.replace(self._file, b"".join(map(framed, records)))

    def sync(self, done: Synced) -> None:
        """Make durable what was added; see `Disk.sync`."""
        self._disk.sync(done)

    def _recovered(self) -> list[bytes]:
        data = self._disk.read(self._file)
        records, end = _read(data)
        if end < len(data):
            if _is_followed(data, end):
                raise UntrustedFile(
                    f"the record at byte {end} of {self._file!r} is not what was written,"
                    " and sound ones follow it"
                )
            self._disk.cut(self._file, end)
        return records


def framed(record: bytes) -> bytes:
    """A record as it stands in the file."""
    return _HEAD.pack(_MARK, len(record), _checksum(record)) + record


def _checksum(record: bytes) -> int:
    """Of the record and its length; of no record that is all zeros it is zero, for that is how tears look."""
    return zlib.crc32(record, 0xA5A5A5A5 ^ len(record))


def corrupt_record(disk: Disk, chance: random.Random, file: str = "journal") -> bool:
    """Damage a durable record that others follow; whether there was one.

    The last one is left alone: that it was sound once, nothing on a disk of its own could tell.
    """
    records, _ = _read(disk.durable(file))
    if len(records) < 2:
        return False
    last = _HEAD.size + len(records[-1])
    size = sum(_HEAD.size + len(one) for one in records)
    disk.corrupt(file, chance.randrange(size - last), 1 << chance.randrange(8))
    return True


def _read(data: bytes) -> tuple[list[bytes], int]:
    """The sound records from the beginning, and where they end."""
    records = []
    at = 0
    while (found := _record(data, at)) is not None:
        records.append(found)
        at += _HEAD.size + len(found)
    return records, at


def _record(data: bytes, at: int) -> bytes | None:
    if len(data) < at + _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack_from(data, at)
    record = data[at + _HEAD.size : at + _HEAD.size + length]
    whole = mark == _MARK and len(record) == length and _checksum(record) == checksum
    return record if whole else None


def _is_followed(data: bytes, at: int) -> bool:
    while (at := data.find(_MARK, at + 1)) != -1:
        if _record(data, at) is not None:
            return True
    return False
