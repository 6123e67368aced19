"""The state machine: it does what plain dictionaries do, and the same on every node."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from flowcore.errors import UntrustedFile
from flowcore.sqlite import open_database
from flowcore.state import (
    Committed,
    Entry,
    OpenSession,
    PutPattern,
    PutPatterns,
    ReembedFeedback,
    Retrain,
    SetLimits,
    Tidy,
    Touch,
    decode_entry,
    encode_entry,
)
from flowcore.state.commands import version_of
from flowcore.state.machine import Machine
from flowcore.state.reads import by_ids, changes
from flowcore.state.results import Refusal
from flowcore.state.schema import STATE, TABLES, select
from flowcore.state.snapshot import Intake, frames
from support.state_commands import ENTRIES, SMALL, log_of
from support.state_model import Model
from support.wild_commands import wild_entry


def fresh() -> sqlite3.Connection:
    return open_database(None, STATE, exclusive=False, synchronous="NORMAL")


def snapshot(connection: sqlite3.Connection) -> bytes:
    return b"".join(frames(connection))


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return [row[:-1] for row in connection.execute(select(table))]


class AsDictionariesDo(RuleBasedStateMachine):
    """Each command has the result that the model gives, and leaves the same behind."""

    @initialize()
    def open(self) -> None:
        self.connection = fresh()
        self.machine = Machine(self.connection)
        self.model = Model(SMALL)
        for entry in log_of([]):
            self.machine.apply([entry])
        self.model.position = 1

    @rule(entries=st.lists(ENTRIES, min_size=1, max_size=4))
    def apply(self, entries: list[Entry]) -> None:
        batch = [
            Committed(self.model.position + number, encode_entry(entry))
            for number, entry in enumerate(entries, start=1)
        ]
        for entry, applied in zip(entries, self.machine.apply(batch), strict=True):
            expected = self.model.apply(entry)
            got = applied.result
            if isinstance(got, Refusal):
                assert got.message
                got = Refusal(position=got.position, code=got.code, message="", version=got.version)
                if isinstance(expected, Refusal):
                    expected = Refusal(
                        position=expected.position,
                        code=expected.code,
                        message="",
                        version=expected.version,
                    )
            assert got == expected

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.check()
            self.connection.close()

    def check(self) -> None:
        model, connection = self.model, self.connection
        found = by_ids(connection, range(50), -1.0)
        assert [(one.id, one.namespace, one.key, one.text, one.value) for one in found] == [
            (one.id, one.namespace, one.key, one.text, one.value)
            for _, one in sorted(model.rows.items())
        ]
        assert [
            (one.vector, one.embedder, one.expert, one.reward, one.weight, one.time, one.used)
            for one in found
        ] == [
            (one.vector, one.embedder, one.expert, one.reward, one.weight, one.time, one.used)
            for _, one in sorted(model.rows.items())
        ]
        assert [(one.expires, one.owner, one.version) for one in found] == [
            (one.expires, one.owner, one.version) for _, one in sorted(model.rows.items())
        ]
        assert rows(connection, "removed") == sorted(model.removed)
        spaces: dict[str, list[int]] = {}
        for one in model.rows.values():
            spaces.setdefault(one.namespace, []).append(one.size)
        assert rows(connection, "namespaces") == [
            (name, len(sizes), sum(sizes)) for name, sizes in sorted(spaces.items())
        ]
        meta = self.machine.tables.meta
        assert (meta.patterns, meta.bytes, meta.namespaces) == (
            len(model.rows),
            sum(one.size for one in model.rows.values()),
            len(spaces),
        )
        assert (meta.removed, meta.removed_to) == (len(model.removed), model.removed_to)
        assert (meta.feedback, meta.feedback_to) == (len(model.lessons), model.feedback_to)
        lessons = rows(connection, "feedback")
        assert [(*one[1:2], *one[3:9], (one[13], one[14])) for one in lessons] == [
            (
                *(at, one.request, one.source, one.text),
                *(one.vector, one.embedder, one.expert, one.owner),
            )
            for at, one in model.lessons
        ]
        assert [(one[0], one[2], one[3]) for one in rows(connection, "sessions")] == [
            (id_, one.used, one.floor) for id_, one in sorted(model.sessions.items())
        ]
        assert sorted((one[1], one[2]) for one in rows(connection, "answers")) == sorted(
            model.answers
        )
        assert (meta.sessions, meta.answers) == (len(model.sessions), len(model.answers))


AsDictionariesDo.TestCase.settings = settings(
    max_examples=150, stateful_step_count=12, deadline=None
)
TestAsDictionariesDo = AsDictionariesDo.TestCase


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, max_size=25), st.lists(st.integers(1, 7), min_size=1))
def test_how_a_log_is_cut_into_batches_makes_no_difference(
    entries: list[Entry], cuts: list[int]
) -> None:
    log = log_of(entries)
    one, other = fresh(), fresh()
    Machine(one).apply(log)
    machine, at, number = Machine(other), 0, 0
    while at < len(log):
        size = cuts[number % len(cuts)]
        machine.apply(log[at : at + size])
        at, number = at + size, number + 1
    assert snapshot(one) == snapshot(other)
    one.close()
    other.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(ENTRIES, max_size=20), st.integers(1, 5000), st.lists(ENTRIES, max_size=10))
def test_a_state_from_a_snapshot_goes_on_like_the_one_it_is_of(
    before: list[Entry], piece: int, after: list[Entry]
) -> None:
    log = log_of([*before, *after])
    first, second = fresh(), fresh()
    Machine(first).apply(log[: len(before) + 1])
    data = snapshot(first)
    intake = Intake(second)
    for at in range(0, len(data), piece):
        intake.feed(data[at : at + piece])
    assert intake.finish() == len(before) + 1
    assert snapshot(second) == data
    for connection in (first, second):
        Machine(connection).apply(log[len(before) + 1 :])
    assert snapshot(first) == snapshot(second)
    first.close()
    second.close()


_FIXED = """
import hashlib
from flowcore.sqlite import open_database
from flowcore.state import *
from flowcore.state.machine import Machine
from flowcore.state.schema import STATE
from flowcore.state.snapshot import frames
connection = open_database(None, STATE, exclusive=False, synchronous="NORMAL")
machine = Machine(connection)
log = [Entry(time=1.0, command=OpenSession("c"))]
for n in range(200):
    one = PutPattern(namespace=f"n{n % 7}", text=f"text {n % 31}", expert=f"e{n % 3}", weight=0.1 * n,
                     reward=n % 11 / 10, ttl=None if n % 5 else n / 3, owner=("s", f"o{n % 2}"))
    log.append(Entry(time=1.0 + n / 7, session=1, sequence=n + 1, command=PutPatterns((one,))))
    log.append(Entry(time=0.0, command=GiveFeedback((Feedback(text=str(n), expert="e", reward=n % 2),))))
machine.apply([Committed(at, encode_entry(one)) for at, one in enumerate(log, start=1)])
print(hashlib.sha256(b"".join(frames(connection))).hexdigest())
"""


def test_a_snapshot_is_the_same_in_every_process_to_the_byte() -> None:
    made = {
        subprocess.run(
            [sys.executable, "-c", _FIXED],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("0", "UTC"), ("1", "Asia/Tokyo"), ("77", "UTC"))
    }
    assert len(made) == 1
    # what every later version must make of these commands as well, or replicas of two versions would differ
    assert {one[:40] for one in made} == {"fa2e1649afdd8c0cb7cb0b6cab3d357b51c2a659"}


def put(*names: str, **fields: Any) -> Entry:
    patterns = tuple(PutPattern(namespace="n", key=name, text=name, **fields) for name in names)
    return Entry(time=1.0, command=PutPatterns(patterns))


def applied(machine: Machine, *entries: Entry) -> list[Any]:
    start = machine.position + 1
    batch = [Committed(at, encode_entry(one)) for at, one in enumerate(entries, start=start)]
    return [one.result for one in machine.apply(batch)]


def test_a_command_that_is_refused_leaves_nothing_of_itself() -> None:
    connection = fresh()
    machine = Machine(connection)
    applied(machine, put("a"))
    before = rows(connection, "patterns")
    both = (
        PutPattern(namespace="other", key="b", text="b"),
        PutPattern(namespace="n", key="a", text="x", if_version=7),
    )
    (result,) = applied(machine, Entry(time=2.0, command=PutPatterns(both)))
    assert (result.code, result.version) == (-31061, 1)
    assert rows(connection, "patterns") == before
    assert rows(connection, "namespaces") == [("n", 1, before[0][13])]
    connection.close()


def test_an_entry_that_does_not_follow_or_cannot_be_read_stops_the_machine() -> None:
    connection = fresh()
    machine = Machine(connection)
    applied(machine, put("a"))
    good = encode_entry(put("b"))
    with pytest.raises(UntrustedFile, match="entry 3 does not follow 1"):
        machine.apply([Committed(3, good)])
    with pytest.raises(UntrustedFile, match="made by a newer flowcore"):
        machine.apply([Committed(2, good), Committed(3, good[:1] + b"\x06" + good[2:])])
    with pytest.raises(UntrustedFile, match="is no command"):
        machine.apply([Committed(2, b"\xff\xff")])
    assert machine.position == 1
    assert len(rows(connection, "patterns")) == 1
    assert [type(one).__name__ for one in applied(machine, put("b"))] == ["Stored"]
    connection.close()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_can_be_read_is_applied_or_refused(seed: int) -> None:
    """What a lying node asks for is decided, too, if it is a command: it must stop nobody."""
    chance = Random(seed)
    connection = fresh()
    machine = Machine(connection)
    kinds: Counter[str] = Counter()
    for number in range(300):
        data = wild_entry(chance, number)
        try:
            entry = decode_entry(data)
        except UntrustedFile:
            kinds["none"] += 1
            continue
        (done,) = machine.apply([Committed(machine.position + 1, data)])
        kinds[type(done.result).__name__] += 1
        assert done.entry == entry or math.isnan(entry.time) or "nan" in repr(entry)
    assert machine.position == 300 - kinds["none"]
    assert kinds["Refusal"] > 50
    assert len(kinds) > 5
    connection.close()


@pytest.mark.parametrize(
    "data",
    [
        encode_entry(Entry(time=1.0, session=2**63, command=Tidy())),
        encode_entry(Entry(time=1.0, sequence=2**63, command=Tidy())),
        encode_entry(Entry(time=1.0, command=PutPatterns((PutPattern(namespace="abcd"),)))).replace(
            b"abcd", b"\xff\xfe\xfd\xfc"
        ),
        b"",
        b"\xc1",
        b"\x96" * 100,
    ],
)
def test_what_cannot_be_read_is_no_command(data: bytes) -> None:
    with pytest.raises(UntrustedFile, match="is no command"):
        decode_entry(data)


def test_entries_of_the_engine_change_nothing_but_the_position() -> None:
    connection = fresh()
    machine = Machine(connection)
    assert [one.position for one in machine.apply([Committed(1, b""), Committed(2, b"")])] == [1, 2]
    assert all(not rows(connection, table) for table in TABLES if table != "meta")
    connection.close()


def test_changes_tell_whole_positions_and_say_when_they_no_longer_reach_back() -> None:
    connection = fresh()
    machine = Machine(connection)
    applied(machine, put("a", "b", "c"), put("d"), put("e"))
    first = changes(connection, 0, 2, 0.0)
    assert ([one.key for one in first.changed], first.position, first.complete) == (
        ["a", "b", "c"],
        1,
        False,
    )
    rest = changes(connection, first.position, 2, 0.0)
    assert ([one.key for one in rest.changed], rest.position, rest.complete) == (
        ["d", "e"],
        3,
        True,
    )
    nothing = changes(connection, 3, 2, 0.0)
    assert (nothing.changed, nothing.removed, nothing.position, nothing.complete) == (
        (),
        (),
        3,
        True,
    )
    connection.close()


def test_a_session_gives_the_same_result_again_and_nothing_happens_twice() -> None:
    connection = fresh()
    machine = Machine(connection)
    merged = PutPatterns((PutPattern(namespace="n", text="x", weight=1.0),))
    entry = Entry(time=1.0, session=1, sequence=1, command=merged)
    made = applied(machine, Entry(time=1.0, command=OpenSession()), entry, entry, entry)
    assert made[1] == made[2] == made[3]
    assert made[1].position == 2
    assert [one[6] for one in rows(connection, "patterns")] == [1.0]
    connection.close()


def test_what_has_expired_goes_by_the_time_of_commands_alone() -> None:
    connection = fresh()
    machine = Machine(connection)
    applied(machine, put("a", ttl=5.0))
    applied(machine, Entry(time=5.9, command=Tidy()))
    assert len(rows(connection, "patterns")) == 1
    applied(machine, Entry(time=6.0, command=Tidy()))
    assert rows(connection, "patterns") == []
    applied(
        machine, Entry(time=float("inf"), command=Tidy()), Entry(time=float("nan"), command=Tidy())
    )
    assert machine.tables.meta.time == 6.0
    connection.close()


def test_what_expired_in_a_batch_that_failed_expires_again() -> None:
    connection = fresh()
    machine = Machine(connection)
    applied(machine, put("a", ttl=5.0))
    applied(machine, put("b", ttl=7.0))
    tidy = encode_entry(Entry(time=6.0, command=Tidy()))
    with pytest.raises(UntrustedFile, match="entry 9 does not follow 4"):
        machine.apply([Committed(3, tidy), Committed(4, tidy), Committed(9, tidy)])
    assert [row[2] for row in rows(connection, "patterns")] == ["a", "b"]
    machine.apply([Committed(3, tidy)])
    assert [row[2] for row in rows(connection, "patterns")] == ["b"]
    connection.close()


def test_those_that_were_not_used_for_longest_go_first() -> None:
    connection = fresh()
    machine = Machine(connection)
    limits = msgspec.structs.replace(SMALL, namespace_bytes=10**6, bytes=10**6)
    applied(machine, Entry(time=0.0, command=SetLimits(limits)))
    for at, name in enumerate("abc", start=1):
        applied(machine, Entry(time=float(at), command=put(name).command))
    applied(
        machine, Entry(time=4.0, command=Touch((1,))), Entry(time=5.0, command=put("d").command)
    )
    assert [one[2] for one in rows(connection, "patterns")] == ["a", "c", "d"]
    applied(machine, Entry(time=5.0, command=put("e", "f").command))
    assert [one[2] for one in rows(connection, "patterns")] == [
        "d",
        "e",
        "f",
    ]  # a tie: the lower id
    connection.close()


def test_a_flood_of_one_namespace_pushes_out_nobody_elses() -> None:
    connection = fresh()
    machine = Machine(connection)
    for entry in log_of([]):
        machine.apply([entry])
    applied(
        machine, Entry(time=0.5, command=PutPatterns((PutPattern(namespace="quiet", key="k"),)))
    )
    for number in range(40):
        one = PutPattern(namespace="loud", key=str(number))
        applied(machine, Entry(time=1.0 + number, command=PutPatterns((one,))))
    assert rows(connection, "namespaces")[1][:2] == ("quiet", 1)
    connection.close()


def test_only_what_older_nodes_do_not_know_is_of_a_later_version() -> None:
    assert version_of(Retrain()) == 2
    assert version_of(Tidy()) == 1
    assert version_of(ReembedFeedback("e", ((1, b""),))) == 5
    assert decode_entry(encode_entry(Entry(version=2, time=0.0, command=Retrain()))).version == 2
