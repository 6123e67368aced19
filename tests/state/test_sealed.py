"""With a key, what clients gave stands nowhere in the state's file, and all else is as without one."""

from __future__ import annotations

import pathlib
import sqlite3

import pytest

from flow_storage.sealing import Seals, named, seals_of
from flowcore.errors import UntrustedFile
from flowcore.secrets import new_seal_key
from flowcore.state import (
    STATE_FILE,
    Committed,
    Feedback,
    GiveFeedback,
    OpenSession,
    PutPattern,
    PutPatterns,
    Refusal,
    ReserveKey,
    SettleKey,
    SubmitTask,
)
from flowcore.state.commands import Command, Entry, encode_entry
from flowcore.state.files import StateFile
from flowcore.state.machine import Machine
from flowcore.state.sealed import PLACES
from flowcore.state.snapshot import Intake, frames

CANARY = "canary-of-the-state"
COMMANDS: tuple[Command, ...] = (
    PutPatterns(
        tuple(
            PutPattern(
                namespace="n", key=f"{n}", text=f"{CANARY} {n}", value=f'"{CANARY}"'.encode()
            )
            for n in range(700)
        )
    ),
    GiveFeedback((Feedback(text=CANARY, expert="e", reward=1.0),)),
    SubmitTask(id="t", queue="q", payload=CANARY.encode()),
    ReserveKey(key="k", fingerprint=b"f", holder="h", seconds=9.0),
    SettleKey(key="k", fence=4, outcome=CANARY.encode()),
    OpenSession(client="c"),
)
SESSION = len(COMMANDS)


KEYS = {1: new_seal_key(), 2: new_seal_key()}


def keys(*numbers: int) -> Seals:
    return seals_of("\n".join(KEYS[number] for number in numbers))


def fill(file: StateFile) -> None:
    entries = [Entry(version=3, time=1000.0, command=command) for command in COMMANDS]
    note = PutPatterns((PutPattern(namespace="n", text="in a session"),))
    entries.append(Entry(time=1000.0, session=SESSION, sequence=1, command=note))
    machine = Machine(file.writer)
    for position, entry in enumerate(entries, start=1):
        (done,) = machine.apply([Committed(position, encode_entry(entry))])
        assert not isinstance(done.result, Refusal), done


def snapshot(file: StateFile) -> bytes:
    with file.reading() as connection:
        return b"".join(frames(connection))


def shows(folder: pathlib.Path) -> list[str]:
    """The files in which the canary stands."""
    return [one.name for one in folder.iterdir() if CANARY.encode() in one.read_bytes()]


@pytest.fixture
def plain(tmp_path: pathlib.Path) -> bytes:
    """The snapshot of a state in the clear, in `plain`."""
    (tmp_path / "plain").mkdir()
    file = StateFile(tmp_path / "plain" / STATE_FILE)
    fill(file)
    made = snapshot(file)
    file.close()
    assert shows(tmp_path / "plain")
    return made


def test_what_is_kept_stands_nowhere_and_is_there_again(
    tmp_path: pathlib.Path, plain: bytes
) -> None:
    folder = tmp_path / "sealed"
    for _ in range(2):
        file = StateFile(folder / STATE_FILE, keys(1))
        if not Machine(file.writer).position:
            fill(file)
        assert snapshot(file) == plain
        assert not shows(folder)
        file.close()
        assert not shows(folder)


def test_a_state_in_the_clear_is_encrypted_and_nothing_is_left_of_it(
    tmp_path: pathlib.Path, plain: bytes
) -> None:
    path = tmp_path / "plain" / STATE_FILE
    file = StateFile(path, keys(1))
    assert snapshot(file) == plain
    assert not shows(path.parent)
    file.close()
    one, two = named(keys(1).current), named(keys(2).current)
    for held, why in (
        (Seals(), f"encrypted with key {one}, and none is configured"),
        (None, f"encrypted with key {one}, and the storage has none"),
        (keys(2), f"encrypted with key {one}, and the keys that are configured are {two}"),
    ):
        with pytest.raises(UntrustedFile, match=why):
            StateFile(path, held)


def test_a_key_is_exchanged_and_the_old_one_is_needed_no_more(
    tmp_path: pathlib.Path, plain: bytes
) -> None:
    path = tmp_path / "sealed" / STATE_FILE
    file = StateFile(path, keys(1))
    fill(file)
    file.close()
    for held in (keys(2, 1), keys(2)):
        file = StateFile(path, held)
        assert snapshot(file) == plain
        file.close()


def test_a_crash_while_it_is_encrypted_leaves_it_as_it_was_or_done(
    tmp_path: pathlib.Path, plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plain" / STATE_FILE

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "_note", crash)
        with pytest.raises(KeyboardInterrupt):
            StateFile(path, keys(1))
    file = StateFile(path)  # in the clear still
    assert snapshot(file) == plain
    file.close()
    connection = sqlite3.connect(path)  # as a crash before the old pages were gone leaves it
    file = StateFile(path, keys(1))
    file._note("unclean", "yes")
    file.close()
    connection.close()
    file = StateFile(path, keys(1))
    assert snapshot(file) == plain
    assert not shows(path.parent)
    file.close()


def test_a_snapshot_of_others_is_sealed_while_it_comes(
    tmp_path: pathlib.Path, plain: bytes
) -> None:
    folder = tmp_path / "sealed"
    file = StateFile(folder / STATE_FILE, keys(1))
    intake = Intake(file.writer)
    for at in range(0, len(plain), 1000):
        intake.feed(plain[at : at + 1000])
    intake.finish()
    assert snapshot(file) == plain
    assert not shows(folder)
    file.close()


@pytest.mark.parametrize("table", sorted(PLACES))
def test_a_sealed_value_that_is_changed_or_moved_is_refused(
    tmp_path: pathlib.Path, table: str
) -> None:
    path = tmp_path / STATE_FILE
    file = StateFile(path, keys(1))
    fill(file)
    file.close()
    columns = {"contents": "text", "feedback": "text", "keys": "outcome", "answers": "result"}
    column = columns.get(table, "payload")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = connection.execute(f"SELECT {column} FROM {table}").fetchone()
    if table == "contents":
        change = "(SELECT text FROM contents WHERE id = 2)"
        connection.execute(f"UPDATE contents SET text = {change} WHERE id = 1")
    else:
        flipped = found[0][:-1] + bytes([found[0][-1] ^ 1])
        connection.execute(f"UPDATE {table} SET {column} = ?", (flipped,))
    connection.commit()
    connection.close()
    with pytest.raises(UntrustedFile, match="does not open|is not what was written"):
        StateFile(path, keys(1))
