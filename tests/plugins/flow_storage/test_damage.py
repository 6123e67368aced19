"""Files with one byte changed, cut off, or exchanged: refused with a reason, or as they were."""

from __future__ import annotations

import pathlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence

import pytest

from flow_storage.log_file import LogFile
from flowcore.errors import StorageError
from flowcore.sqlite import open_database, reading
from flowcore.state import (
    Command,
    Committed,
    Entry,
    Feedback,
    GiveFeedback,
    LogEntry,
    OpenSession,
    PutPattern,
    PutPatterns,
    RemovePatterns,
    encode_entry,
)
from flowcore.state.files import StateFile
from flowcore.state.machine import Machine
from flowcore.state.snapshot import frames

Content = Callable[[pathlib.Path], object]


def small(path: pathlib.Path) -> None:
    """Make its pages small, so that there are few bytes in all."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def entries() -> list[Committed]:
    said = Feedback(request="r", text="t", expert="e", reward=0.5)
    commands: tuple[Command, ...] = (
        OpenSession("c"),
        PutPatterns((PutPattern(namespace="n", key="k", text="text", value=b"[1]", expert="e"),)),
        PutPatterns((PutPattern(namespace="m", text="gone", ttl=5.0),)),
        GiveFeedback((said,)),
        RemovePatterns(ids=(2,)),
    )
    made = [
        Entry(time=1.0, session=1 if at else 0, sequence=at, command=one)
        for at, one in enumerate(commands)
    ]
    return [Committed(at, encode_entry(one)) for at, one in enumerate(made, start=1)]


def make_state(path: pathlib.Path, *, clean: bool) -> None:
    StateFile(path).close()
    small(path)
    file = StateFile(path)
    file.belongs_to("a log")
    if clean:
        Machine(file.writer).apply(entries())
    else:
        for entry in entries():
            Machine(file.writer).apply([entry])
        for one in path.parent.glob(path.name + "*"):  # as kill -9 would leave it
            shutil.copy(one, path.parent / ("crashed-" + one.name))
    file.close()
    if not clean:
        for one in path.parent.glob("crashed-*"):
            one.rename(path.parent / one.name.removeprefix("crashed-"))


def state_content(path: pathlib.Path) -> object:
    file = StateFile(path)
    try:
        file.belongs_to("a log")
        with reading(path):  # as opening a state does
            machine = Machine(file.writer)
            machine.apply(entries()[machine.position :])  # what a log would bring
            return b"".join(frames(file.writer))
    finally:
        file.close()


def make_log(path: pathlib.Path, *, clean: bool) -> None:
    LogFile(path).close()
    small(path)
    file = LogFile(path)
    file.append([LogEntry(at, 1, b"entry %d" % at) for at in range(1, 4)], b"voted")
    file.append([LogEntry(4, 2, b"entry 4")], None)
    file.compact(1)
    if not clean:
        for one in path.parent.glob(path.name + "*"):
            shutil.copy(one, path.parent / ("crashed-" + one.name))
    file.close()
    if not clean:
        for one in path.parent.glob("crashed-*"):
            one.rename(path.parent / one.name.removeprefix("crashed-"))


def log_content(path: pathlib.Path) -> object:
    file = LogFile(path)
    try:
        found = file.read(file.compacted[0] + 1, file.last, 10**6)
        return (file.identity, file.compacted, file.hard_state, found)
    finally:
        file.close()


KINDS: dict[str, tuple[Callable[..., None], Content]] = {
    "log": (make_log, log_content),
    "state": (make_state, state_content),
}


def damages(data: bytes, offsets: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    for at in offsets:
        for change in (0x01, 0x80, 0xFF):
            yield (
                f"byte {at} ^ {change:#x}",
                data[:at] + bytes([data[at] ^ change]) + data[at + 1 :],
            )


def check(folder: pathlib.Path, kind: str, *, clean: bool, name: str, step: int) -> tuple[int, int]:
    """Damage a file in many ways; how often it was refused, and how often it was as before."""
    make, content = KINDS[kind]
    path = folder / f"{kind}.sqlite"
    make(path, clean=clean)
    saved = {one.name: one.read_bytes() for one in folder.iterdir() if "lock" not in one.name}
    expected = content(path)
    refused = same = 0
    data = saved[name]
    cut = [(f"cut to {size}", data[:size]) for size in range(0, len(data), step)]
    for what, damaged in [*damages(data, range(0, len(data), step)), *cut]:
        for one in folder.iterdir():
            one.unlink()
        for other, whole in saved.items():
            (folder / other).write_bytes(damaged if other == name else whole)
        try:
            found = content(path)
        except StorageError as error:
            assert kind in str(error) or "log" in str(error) or "file" in str(error), error
            refused += 1
        else:
            assert found == expected or lesser(kind, expected, found, name), (what, found)
            same += 1
    return refused, same


def lesser(kind: str, expected: object, found: object, name: str) -> bool:
    """A log whose own write-ahead log is damaged may end earlier, as if the end had never been written.

    Whether anything of it was acknowledged its state tells (`tests/state/test_live.py`).
    """
    if kind != "log" or not (name.endswith("-wal") or not isinstance(found, tuple)):
        return False
    assert isinstance(expected, tuple)
    assert isinstance(found, tuple)
    whole = {one.position: one for one in expected[3]}
    return all(whole.get(one.position, one) == one for one in found[3] if one.position > 1)


@pytest.mark.parametrize("kind", ["log", "state"])
def test_a_file_with_a_changed_byte_is_refused_or_as_it_was(
    tmp_path: pathlib.Path, kind: str
) -> None:
    refused, same = check(
        tmp_path, kind, clean=True, name=f"{kind}.sqlite", step=53 if kind == "log" else 97
    )
    assert refused > same / 10


@pytest.mark.parametrize("kind", ["log", "state"])
def test_a_write_ahead_log_with_a_changed_byte_loses_nothing_that_counts(
    tmp_path: pathlib.Path, kind: str
) -> None:
    check(
        tmp_path, kind, clean=False, name=f"{kind}.sqlite-wal", step=211 if kind == "log" else 997
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", ["log", "state"])
def test_every_byte_of_a_file_counts(tmp_path: pathlib.Path, kind: str) -> None:
    check(tmp_path, kind, clean=True, name=f"{kind}.sqlite", step=1)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["log", "state"])
def test_every_byte_of_a_write_ahead_log_counts(tmp_path: pathlib.Path, kind: str) -> None:
    check(tmp_path, kind, clean=False, name=f"{kind}.sqlite-wal", step=1 if kind == "log" else 3)


@pytest.mark.parametrize("kind", ["log", "state"])
def test_a_file_of_another_kind_or_a_newer_version_is_refused(
    tmp_path: pathlib.Path, kind: str
) -> None:
    make, content = KINDS[kind]
    path = tmp_path / f"{kind}.sqlite"
    other = tmp_path / "other.sqlite"
    KINDS["log" if kind == "state" else "state"][0](other, clean=True)
    for damage, match in (
        (other.read_bytes(), "is no flowcore"),
        (b"no database at all" * 100, "is no"),
    ):
        path.write_bytes(damage)
        with pytest.raises(StorageError, match=match):
            content(path)
    path.unlink()
    make(path, clean=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="made by a newer flowcore"):
        content(path)


def test_rows_that_go_missing_in_the_log_are_noticed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.sqlite"
    make_log(path, clean=True)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM log WHERE position = 3")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="some are missing"):
        LogFile(path)


def test_a_database_is_one_process_s_alone(tmp_path: pathlib.Path) -> None:
    from flow_storage.log_file import FORMAT

    first = open_database(tmp_path / "x", FORMAT, exclusive=True, synchronous="FULL")
    first.execute("SELECT count(*) FROM log").fetchone()
    with pytest.raises(StorageError, match="in use by another process"):
        open_database(tmp_path / "x", FORMAT, exclusive=True, synchronous="FULL")
    first.close()
