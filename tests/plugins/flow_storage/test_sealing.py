"""Encryption at rest: nothing of what is kept stands in the file, and only the right keys open it."""

from __future__ import annotations

import pathlib
import sqlite3
from collections.abc import AsyncGenerator

import pytest
import trio

from flow_storage.log_file import LogFile
from flow_storage.sealing import PLAIN, Seals, named, seals_of
from flow_storage.sqlite import SqliteStorage
from flowcore import open_flow
from flowcore.config import ConfigError
from flowcore.errors import AssemblyError, StorageError, UntrustedFile
from flowcore.secrets import new_seal_key, write_private
from flowcore.sqlite import FileThread, row_hash
from flowcore.state import LogEntry, PutPattern, PutPatterns, SnapshotInfo

MARK = b"nobody but its owner may read this"


def seals(*keys: str) -> Seals:
    return seals_of("\n".join(keys) if keys else None)


def filled(path: pathlib.Path, keys: Seals, first: int = 1) -> LogFile:
    """A log with three entries from a position on, and a snapshot of two pieces."""
    file = LogFile(path, keys)
    entries = [LogEntry(at, 1, MARK + b"%d" % at) for at in range(first, first + 3)]
    file.append(entries, hard_state=None)
    slot = file.begin_snapshot()
    for number in range(2):
        file.put_chunk(slot, number, MARK + b"piece %d" % number)
    file.end_snapshot(slot, SnapshotInfo(position=1, term=1), 2)
    return file


def held(file: LogFile) -> list[bytes]:
    """All that it holds."""
    found = [one.data for one in file.read(file.compacted[0] + 1, file.last, 1 << 20)]
    slot, number = file.snapshot_slot(), 0
    while (piece := file.chunk(slot, number)) is not None:
        found.append(piece)
        number += 1
    return found


def on_disk(path: pathlib.Path) -> bytes:
    return b"".join(one.read_bytes() for one in path.parent.iterdir() if path.name in one.name)


WHOLE = [MARK + b"%d" % at for at in (1, 2, 3)] + [MARK + b"piece %d" % at for at in (0, 1)]


def test_what_is_kept_stands_nowhere_in_the_file_and_is_there_again(tmp_path: pathlib.Path) -> None:
    path, key = tmp_path / "log.sqlite", new_seal_key()
    file = filled(path, seals(key))
    assert held(file) == WHOLE
    assert MARK not in on_disk(path)
    file.close()
    assert MARK not in on_disk(path)
    file = LogFile(path, seals(key))
    assert held(file) == WHOLE
    file.close()
    plain = filled(tmp_path / "plain.sqlite", seals())
    assert MARK in on_disk(tmp_path / "plain.sqlite")  # or the test shows nothing
    plain.close()


def test_without_the_key_or_with_another_it_is_refused_by_its_reason(
    tmp_path: pathlib.Path,
) -> None:
    path, key, other = tmp_path / "log.sqlite", new_seal_key(), new_seal_key()
    filled(path, seals(key)).close()
    right, wrong = (named(seals(one).current) for one in (key, other))
    with pytest.raises(UntrustedFile, match=f"encrypted with key {right}, and none is configured"):
        LogFile(path, seals())
    with pytest.raises(UntrustedFile, match=f"with key {right}, and .* configured are {wrong}"):
        LogFile(path, seals(other))
    file = LogFile(path, seals(other, key))  # the right one is among them
    assert held(file) == WHOLE
    file.close()


def test_a_key_is_exchanged_and_the_old_one_is_needed_no_more(tmp_path: pathlib.Path) -> None:
    path, old, new = tmp_path / "log.sqlite", new_seal_key(), new_seal_key()
    filled(path, seals(old)).close()
    file = LogFile(path, seals(new, old))
    file.append([LogEntry(4, 1, MARK + b"4")], hard_state=None)
    assert file.keys == [seals(old).current, seals(new).current]
    at: int | None = 0
    while at is not None:
        at = file.reseal(at)
    assert file.keys == [seals(new).current]
    file.close()
    file = LogFile(path, seals(new))
    assert held(file) == [*WHOLE[:3], MARK + b"4", *WHOLE[3:]]
    file.close()
    with pytest.raises(UntrustedFile, match="is encrypted with key"):
        LogFile(path, seals(old))


def test_a_log_in_the_clear_is_encrypted_and_nothing_is_left_of_it(tmp_path: pathlib.Path) -> None:
    path, key = tmp_path / "log.sqlite", new_seal_key()
    filled(path, seals()).close()
    file = LogFile(path, seals(key))
    assert file.keys == [PLAIN, seals(key).current]
    at: int | None = 0
    while at is not None:
        at = file.reseal(at)
    assert held(file) == WHOLE
    file.close()
    assert MARK not in on_disk(path)


def test_what_is_moved_within_the_log_or_changed_does_not_open(tmp_path: pathlib.Path) -> None:
    """Whoever can write to the file can make its checksums right, but not what is sealed."""
    path, key = tmp_path / "log.sqlite", new_seal_key()
    filled(path, seals(key)).close()
    connection = sqlite3.connect(path, isolation_level=None)
    (sealed,) = connection.execute("SELECT data FROM log WHERE position = 1").fetchone()
    number = seals(key).current
    for at, data in ((2, sealed), (3, sealed[:-1] + bytes([sealed[-1] ^ 1])), (3, b"short")):
        values = (data, row_hash(at, 1, number, data), at)
        connection.execute("UPDATE log SET data = ?, hash = ? WHERE position = ?", values)
    connection.close()
    file = LogFile(path, seals(key))
    assert file.read(1, 1, 100)[0].data == MARK + b"1"
    for at in (2, 3):
        with pytest.raises(UntrustedFile, match=f"entry {at} 1 of the log does not open"):
            file.read(at, at, 100)
    file.close()


async def test_a_node_encrypts_its_log_and_exchanges_the_key_while_it_works(
    tmp_path: pathlib.Path,
) -> None:
    keys, data = tmp_path / "keys", tmp_path / "data"
    first, second = new_seal_key(), new_seal_key()

    async def life(number: int, *lines: str) -> list[str]:
        write_private(keys, "\n".join(lines).encode(), replace=True) if lines else None
        storage = {"type": "sqlite", **({"key": {"file": str(keys)}} if lines else {})}
        config = {"node": {"data_dir": str(data)}, "storage": storage}
        async with open_flow(config) as flow:
            pattern = PutPattern(namespace="n", key=f"{number}", text=MARK.decode())
            await flow.state.do(PutPatterns((pattern,)))
            for at in range(number + 1):
                kept = await flow.state.pattern("n", f"{at}")
                assert kept is not None
            with trio.fail_after(20):
                while True:
                    told = flow.status()["state"]["consensus"]["storage"]["keys"]
                    if len(told) < 2:
                        return list(told)
                    await trio.sleep(0.01)

    assert await life(0) == []
    assert await life(1, first) == [named(seals(first).current)]
    for path in (data / "storage" / "log.sqlite", data / "state.sqlite"):
        assert MARK not in on_disk(path)
    assert await life(2, second, first) == [named(seals(second).current)]
    assert await life(3, second) == [named(seals(second).current)]
    for lines, why in ((), "none is configured"), ((first,), "that are configured are"):
        with pytest.raises(AssemblyError, match=why):
            await life(4, *lines)
    with pytest.raises(ConfigError, match="expected seal keys of 32 bytes as base64"):
        await life(4, "no key")


async def test_a_snapshot_of_others_is_sealed_while_it_comes(tmp_path: pathlib.Path) -> None:
    path, old, new = tmp_path / "log.sqlite", new_seal_key(), new_seal_key()
    filled(path, seals(old)).close()
    file = LogFile(path, seals(new, old))
    storage = SqliteStorage(file, FileThread("log"), lambda reason: None)

    async def pieces() -> AsyncGenerator[bytes]:
        yield MARK + b"a"
        await storage.reseal()  # in the middle of it
        yield MARK + b"b"

    await storage.save_snapshot(SnapshotInfo(position=3, term=1), pieces())
    assert [one async for one in storage.read_snapshot()] == [MARK + b"a", MARK + b"b"]
    assert MARK not in on_disk(path)
    file.close()
    file = LogFile(path, seals(new))
    assert held(file)[3:] == [MARK + b"a", MARK + b"b"]
    file.close()


def test_a_key_that_is_lost_is_an_error_of_the_storage() -> None:
    with pytest.raises(StorageError):
        seals().open(b"x" * 50, 7, "identity", "entry", 1, 1)
