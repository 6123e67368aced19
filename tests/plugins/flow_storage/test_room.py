"""A write-ahead log has its length before it needs it, and nothing else changes."""

from __future__ import annotations

import pathlib

import pytest

from flow_storage import room
from flow_storage.log_file import LogFile
from flow_storage.room import ENOUGH, Room
from flowcore.state import LogEntry


def entries(first: int, count: int) -> list[LogEntry]:
    return [LogEntry(first + at, 1, b"%d" % (first + at) * 200) for at in range(count)]


def write(log: LogFile, commits: int) -> int:
    """So many commits of ten entries, each followed by what is to follow it; how often there was."""
    grown = 0
    for _ in range(commits):
        log.append(entries(log.last + 1, 10), None)
        if log.room.short:
            log.room.reserve()
            grown += 1
    return grown


def test_the_log_grows_ahead_of_what_is_written(tmp_path: pathlib.Path) -> None:
    log, wal = LogFile(tmp_path / "log.sqlite"), tmp_path / "log.sqlite-wal"
    grown = write(log, 300)
    assert 0 < grown < 20
    assert wal.stat().st_size <= ENOUGH + 3 * 2**20
    held = wal.read_bytes().rstrip(b"\0")
    assert len(held) < wal.stat().st_size
    log.close()


def test_what_stands_before_the_zeros_is_found_after_a_crash(tmp_path: pathlib.Path) -> None:
    log = LogFile(tmp_path / "log.sqlite")
    assert write(log, 60) > 0
    for name in ("log.sqlite", "log.sqlite-wal"):  # what a kill would leave
        (tmp_path / f"left-{name}").write_bytes((tmp_path / name).read_bytes())
    left = tmp_path / "left-log.sqlite"
    again = LogFile(left)
    assert again.last == log.last == 600
    assert again.read(1, 600, 10**9) == log.read(1, 600, 10**9)
    assert not again.room.short
    write(again, 5)
    again.close()
    log.close()


def test_a_disk_without_much_room_keeps_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SPARE", 2**62)
    log, wal = LogFile(tmp_path / "log.sqlite"), tmp_path / "log.sqlite-wal"
    assert write(log, 60) == 1  # it looks once
    assert len(wal.read_bytes()) - len(wal.read_bytes().rstrip(b"\0")) < 4096
    log.close()


def test_a_log_that_is_gone_or_cannot_be_written_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    none = Room(path)
    assert not none.short
    none.reserve()
    assert not path.exists()
    path.write_bytes(b"x" * 2**19)
    some = Room(path)
    assert not some.short
    path.write_bytes(b"x" * 2**20)
    some.look()
    assert some.short
    some.reserve()
    assert not some.short
    assert path.read_bytes() == b"x" * 2**20 + bytes(2**20)
    some.look()
    assert not some.short
