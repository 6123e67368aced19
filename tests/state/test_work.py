"""Tasks, idempotency outcomes, leases and revocations: as plain dictionaries do, on every node alike."""

from __future__ import annotations

import pathlib
import sqlite3
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcore.errors import (
    IdempotencyConflict,
    InvalidArguments,
    QuotaExceeded,
    TooLarge,
    UntrustedFile,
    VersionConflict,
)
from flowcore.sqlite import open_database
from flowcore.state import (
    AcquireLease,
    CancelTask,
    ClaimTask,
    Command,
    Committed,
    DeclareLost,
    EndTask,
    Entry,
    OpenSession,
    ProgressTask,
    ReadLevel,
    Reinstate,
    ReleaseLease,
    RenewLease,
    ReserveKey,
    Revoke,
    SettleKey,
    SetWorkLimits,
    SubmitTask,
    Tidy,
    WorkLimits,
    encode_entry,
)
from flowcore.state.commands import version_of
from flowcore.state.machine import Machine
from flowcore.state.results import Refusal
from flowcore.state.schema import STATE, TABLES, select
from flowcore.state.snapshot import Intake, frames
from flowcore.state.work_reads import key, leases, revocations, task, tasks
from support.keeping import keeping
from support.work_model import SMALL_WORK, WORK_ENTRIES, WorkModel, owner_of


def fresh() -> sqlite3.Connection:
    return open_database(None, STATE, exclusive=False, synchronous="NORMAL")


def snapshot(connection: sqlite3.Connection) -> bytes:
    return b"".join(frames(connection))


def log_of(entries: list[Entry]) -> list[Committed]:
    first = Entry(version=3, time=0.0, command=SetWorkLimits(SMALL_WORK))
    return [Committed(at, encode_entry(one)) for at, one in enumerate((first, *entries), start=1)]


def usage(kind: str, kept: list[Any]) -> dict[tuple[str, ...], tuple[int, int]]:
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for one in kept:
        for place in ((kind, *owner_of(one)), ("all " + kind, "", "")):
            count, size = found.get(place, (0, 0))
            found[place] = (count + 1, size + one.size)
    return found


def same(connection: sqlite3.Connection, model: WorkModel) -> None:
    """What can be read is what the model has."""
    found = [tasks(connection, owner, **_ALL).tasks for owner in _OWNERS]
    assert {one.id for some in found for one in some} == set(model.tasks)
    for id_, made in model.tasks.items():
        kept = task(connection, id_, -1.0)
        assert kept is not None
        assert (kept.number, kept.state, kept.holder, kept.fence, kept.until, kept.attempt) == (
            *(made.number, made.state, made.holder, made.fence, made.until, made.attempt),
        )
        assert (kept.cancel, kept.expires, kept.payload, kept.progress, kept.result) == (
            *(made.cancel, made.expires, made.command.payload, made.progress, made.result),
        )
    for (owner, scope, name), reserved in model.keys.items():
        known = key(connection, owner, scope, name, -1.0)
        assert known is not None
        assert _key(known) == _key(reserved)
    assert [(one.name, one.holder, one.fence, one.until) for one in _leases(connection)] == [
        (name, *held) for name, held in sorted(model.leases.items())
    ]
    assert [one.id for one in revocations(connection, "", 10, -1.0)] == sorted(model.revoked)
    expected = {
        **usage("tasks", list(model.tasks.values())),
        **usage("keys", list(model.keys.values())),
    }
    counted = {
        row[:3]: row[3:5]
        for row in connection.execute(select("usage"))
        if row[0].endswith(("tasks", "keys"))
    }
    assert counted == expected


_OWNERS = (("", ""), ("jwt", "ann"), ("token", "ann"))
_ALL: dict[str, Any] = {
    "states": (),
    "cursor": None,
    "limit": 100,
    "now": -1.0,
    "level": ReadLevel.STALE,
}


def _key(one: Any) -> tuple[Any, ...]:
    assert isinstance(one.fence, int)
    return (
        *(one.state, one.fingerprint, one.holder, one.fence),
        *(one.until, one.outcome, one.expires),
    )


def _leases(connection: sqlite3.Connection) -> list[Any]:
    return leases(connection, None, None, -1.0)


def with_fence(entry: Entry, model: WorkModel) -> Entry:
    """The entry; every fence but a few is the one that counts now, so that holders get on."""
    one = entry.command
    if not isinstance(one, ProgressTask | EndTask | SettleKey | RenewLease | ReleaseLease):
        return entry
    fence = one.fence
    if isinstance(one, ProgressTask | EndTask) and one.id in model.tasks:
        fence = model.tasks[one.id].fence
    elif isinstance(one, SettleKey) and (one.owner, one.scope, one.key) in model.keys:
        fence = model.keys[one.owner, one.scope, one.key].fence
    elif isinstance(one, RenewLease | ReleaseLease) and one.name in model.leases:
        fence = model.leases[one.name][1]
    if one.fence > 10:
        return entry
    return msgspec.structs.replace(entry, command=msgspec.structs.replace(one, fence=fence))


@settings(max_examples=300, deadline=None)
@given(st.lists(WORK_ENTRIES, max_size=25))
def test_work_is_done_as_dictionaries_do(entries: list[Entry]) -> None:
    connection, model = fresh(), WorkModel()
    machine = Machine(connection)
    for entry in (Entry(version=3, time=0.0, command=SetWorkLimits(SMALL_WORK)), *entries):
        meant = with_fence(entry, model)
        at = model.position + 1
        (applied,) = machine.apply([Committed(at, encode_entry(meant))])
        expected = model.apply(meant)
        got = applied.result.code if isinstance(applied.result, Refusal) else applied.result
        assert got == expected
    same(connection, model)
    connection.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(WORK_ENTRIES, max_size=25), st.integers(0, 25), st.integers(1, 5))
def test_a_node_that_begins_with_a_snapshot_comes_to_the_same_bytes(
    entries: list[Entry], cut: int, size: int
) -> None:
    log = log_of(entries)
    cut = min(cut, len(log))
    one, other = fresh(), fresh()
    Machine(one).apply(log[:cut])
    intake = Intake(other)
    intake.feed(snapshot(one))
    intake.finish(cut)
    Machine(one).apply(log[cut:])
    machine = Machine(other)
    for at in range(cut, len(log), size):
        machine.apply(log[at : at + size])
    assert snapshot(one) == snapshot(other)
    one.close()
    other.close()


class Log:
    """A machine, and what it makes of commands at times."""

    def __init__(self) -> None:
        self.connection = fresh()
        self.machine = Machine(self.connection)

    def do(self, time: float, command: Command, **fields: Any) -> Any:
        entry = Entry(version=version_of(command), time=time, command=command, **fields)
        at = self.machine.position + 1
        (applied,) = self.machine.apply([Committed(at, encode_entry(entry))])
        if isinstance(applied.result, Refusal):
            raise applied.result.error()
        return applied.result


@pytest.fixture
def log() -> Any:
    made = Log()
    yield made
    made.connection.close()


def test_a_task_of_a_lost_claimer_is_done_by_another_and_the_first_is_shut_out(log: Log) -> None:
    log.do(0.0, SubmitTask(id="t", queue="q", payload=b"p"))
    first = log.do(1.0, ClaimTask(queue="q", holder="n1", seconds=10.0))
    assert log.do(2.0, ClaimTask(queue="q", holder="n2", seconds=10.0)).task is None
    log.do(9.0, ProgressTask(id="t", fence=first.fence, seconds=10.0, progress=b"half"))
    assert log.do(18.9, ClaimTask(queue="q", holder="n2", seconds=10.0)).task is None
    second = log.do(19.0, ClaimTask(queue="q", holder="n2", seconds=10.0))
    assert (second.task, second.payload, second.attempt) == ("t", b"p", 2)
    assert second.fence > first.fence
    with pytest.raises(VersionConflict) as refused:
        log.do(20.0, EndTask(id="t", fence=first.fence, state="completed", result=b"late"))
    assert refused.value.data == {"version": second.fence}
    assert log.do(20.0, DeclareLost("n2")).tasks == 1
    third = log.do(20.0, ClaimTask(queue="q", holder="n1", seconds=10.0))
    log.do(21.0, CancelTask(id="t"))
    assert log.do(21.0, ProgressTask(id="t", fence=third.fence, seconds=1.0)).cancel
    log.do(21.5, EndTask(id="t", fence=third.fence, state="completed", result=b"done"))
    kept = task(log.connection, "t", 22.0)
    assert kept is not None
    assert (kept.state, kept.result, kept.progress) == ("completed", b"done", b"half")
    with pytest.raises(VersionConflict):
        log.do(22.0, EndTask(id="t", fence=third.fence, state="failed"))


def test_work_that_may_not_be_repeated_ends_unknown_when_its_claimer_is_lost(log: Log) -> None:
    log.do(0.0, SubmitTask(id="once", queue="q", repeatable=False))
    log.do(0.0, SubmitTask(id="twice", queue="r", attempts=2))
    log.do(1.0, ClaimTask(queue="q", holder="n", seconds=1.0))
    log.do(1.0, ClaimTask(queue="r", holder="n", seconds=1.0))
    log.do(2.0, ClaimTask(queue="r", holder="n", seconds=1.0))
    log.do(3.0, Tidy())
    states = [one.state for one in tasks(log.connection, ("", ""), **_ALL).tasks]
    assert states == ["unknown", "unknown"]


def test_a_claim_asked_again_in_its_session_is_the_same_claim(log: Log) -> None:
    log.do(0.0, SubmitTask(id="t", queue="q"))
    log.do(0.0, SubmitTask(id="u", queue="q"))
    session = log.do(0.0, OpenSession()).session
    claim = ClaimTask(queue="q", holder="n", seconds=9.0)
    made = [log.do(1.0, claim, session=session, sequence=1) for _ in range(3)]
    assert [one.task for one in made] == ["t", "t", "t"]
    assert made[0] == made[1] == made[2]


def test_another_owner_neither_sees_nor_cancels_a_task(log: Log) -> None:
    log.do(0.0, SubmitTask(id="t", queue="q", owner=("jwt", "ann")))
    with pytest.raises(InvalidArguments, match="there is no task 't'"):
        log.do(1.0, CancelTask(id="t", owner=("jwt", "bob")))
    assert tasks(log.connection, ("jwt", "bob"), **_ALL).tasks == ()
    assert log.do(1.0, CancelTask(id="t", owner=("jwt", "ann"))).state == "cancelled"


def test_tasks_are_listed_a_page_at_a_time(log: Log) -> None:
    for number in range(5):
        log.do(0.0, SubmitTask(id=str(number), queue="q"))
    log.do(0.0, CancelTask(id="2"))
    wanted = {**_ALL, "states": ("queued",), "limit": 3}
    page = tasks(log.connection, ("", ""), **wanted)
    assert [one.id for one in page.tasks] == ["0", "1", "3"]
    page = tasks(log.connection, ("", ""), **{**wanted, "cursor": page.cursor})
    assert ([one.id for one in page.tasks], page.cursor) == (["4"], None)


def reserve(**fields: Any) -> ReserveKey:
    made = {"key": "k", "fingerprint": b"f", "holder": "n1", "seconds": 5.0, **fields}
    return ReserveKey(**made)


def test_an_outcome_is_given_again_and_another_payload_refused(log: Log) -> None:
    first = log.do(0.0, reserve())
    assert first.state == "reserved"
    again = log.do(1.0, reserve(holder="n2"))
    assert (again.state, again.holder, again.fence) == ("running", "n1", first.fence)
    with pytest.raises(IdempotencyConflict):
        log.do(1.0, reserve(fingerprint=b"g"))
    log.do(2.0, SettleKey(key="k", fence=first.fence, outcome=b"42", keep=10.0))
    assert log.do(3.0, reserve(repeatable=True)).outcome == b"42"
    assert log.do(12.0, reserve()).state == "reserved"


def test_an_unknown_outcome_stays_unknown_unless_the_work_may_be_repeated(log: Log) -> None:
    first = log.do(0.0, reserve())
    assert log.do(5.0, reserve(holder="n2")).state == "unknown"
    second = log.do(6.0, reserve(holder="n2", repeatable=True))
    assert (second.state, second.fence > first.fence) == ("reserved", True)
    with pytest.raises(VersionConflict):  # the one taken for lost comes too late
        log.do(7.0, SettleKey(key="k", fence=first.fence, outcome=b"old"))
    assert log.do(7.0, DeclareLost("n2")).keys == 1
    told = log.do(8.0, SettleKey(key="k", fence=second.fence, outcome=b"new"))
    assert (told.state, told.outcome) == (
        "settled",
        b"new",
    )  # it came late, but nobody came between


def test_work_that_is_done_is_known_to_be_done_where_its_outcome_does_not_fit(log: Log) -> None:
    log.do(0.0, SetWorkLimits(WorkLimits(owner_keys=1, key_bytes=300)))
    fence = log.do(0.0, reserve()).fence
    with pytest.raises(QuotaExceeded, match="there are 1 keys of the owner"):
        log.do(0.0, reserve(key="other"))
    told = log.do(1.0, SettleKey(key="k", fence=fence, outcome=b"x" * 400))
    assert (told.state, told.outcome) == ("settled", None)
    assert log.do(2.0, reserve(repeatable=True)).state == "settled"


def test_a_lease_has_one_holder_and_its_fences_grow(log: Log) -> None:
    fences = []
    for time, holder in ((0.0, "n1"), (5.0, "n2"), (10.0, "n1")):
        told = log.do(time, AcquireLease(name="cron", holder=holder, seconds=5.0))
        assert told.held
        fences.append(told.fence)
        other = log.do(time + 1, AcquireLease(name="cron", holder="n3", seconds=5.0))
        assert (other.held, other.holder, other.fence) == (False, holder, told.fence)
    assert fences == sorted(set(fences))
    log.do(14.0, RenewLease(name="cron", fence=fences[2], seconds=5.0))
    with pytest.raises(VersionConflict):
        log.do(14.0, RenewLease(name="cron", fence=fences[1], seconds=5.0))
    assert [one.until for one in leases(log.connection, "cron", "n1", 14.0)] == [19.0]
    assert log.do(15.0, DeclareLost("n1")).leases == 1
    assert log.do(15.0, AcquireLease(name="cron", holder="n3", seconds=5.0)).fence > fences[2]


def test_a_revocation_is_never_shortened(log: Log) -> None:
    log.do(0.0, Revoke(ids=("a", "b"), ttl=10.0))
    log.do(1.0, Revoke(ids=("a",), ttl=1.0))
    log.do(1.0, Revoke(ids=("b",)))
    log.do(9.9, Tidy())
    kept = revocations(log.connection, "", 10, 9.9)
    assert [(one.id, one.expires) for one in kept] == [("a", 10.0), ("b", None)]
    log.do(10.0, Tidy())
    assert [one.id for one in revocations(log.connection, "", 10, 0.0)] == ["b"]
    assert log.do(11.0, Reinstate(ids=("b", "a", "b"))).ids == ("b",)
    assert revocations(log.connection, "", 10, 0.0) == []


@pytest.mark.parametrize(
    ("command", "error", "said"),
    [
        (SubmitTask(id="", queue="q"), InvalidArguments, "the id of a task is empty"),
        (SubmitTask(id="t", queue="q", ttl=float("nan")), InvalidArguments, "ttl is nan"),
        (
            SubmitTask(id="t", queue="q", payload=bytes(2**22 + 1)),
            InvalidArguments,
            "more than the 4194304",
        ),
        (ClaimTask(queue="q", holder="n", seconds=-1.0), InvalidArguments, "seconds is -1.0"),
        (ClaimTask(queue="q", holder="", seconds=1.0), InvalidArguments, "the holder is empty"),
        (reserve(fingerprint=b""), InvalidArguments, "a fingerprint has 0 bytes"),
        (
            SettleKey(key="k", fence=1, state="free", outcome=b"x"),
            InvalidArguments,
            "a key that is free has no outcome",
        ),
        (
            AcquireLease(name="x" * 513, holder="n", seconds=1.0),
            InvalidArguments,
            "more than the 512",
        ),
        (Revoke(ids=()), InvalidArguments, "there are no ids"),
        (Reinstate(ids=()), InvalidArguments, "there are no ids"),
        (Reinstate(ids=("",)), InvalidArguments, "an id is empty"),
        (SetWorkLimits(WorkLimits(tasks=-1)), InvalidArguments, "the limit 'tasks' is -1"),
        (EndTask(id="none", fence=1, state="failed"), InvalidArguments, "no task 'none'"),
    ],
)
def test_a_command_that_cannot_be_is_refused_with_a_reason(
    log: Log, command: Command, error: type[Exception], said: str
) -> None:
    log.do(0.0, SubmitTask(id="kept", queue="q"))
    before = _rows(log.connection)
    with pytest.raises(error, match=said):
        log.do(0.0, command)
    assert _rows(log.connection) == before


def _rows(connection: sqlite3.Connection) -> list[Any]:
    """All but where it is."""
    return [connection.execute(select(one)).fetchall() for one in TABLES if one != "meta"]


def test_an_older_node_refuses_what_it_does_not_know() -> None:
    assert {version_of(one) for one in (SubmitTask(id="t", queue="q"), reserve())} == {3}
    assert version_of(Tidy()) == 1  # what it does know it still takes


# ---- files


def test_a_file_of_the_version_before_gets_what_it_lacks(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    for statement in STATE.schema:
        old.execute(statement)
    old.execute(f"PRAGMA application_id = {STATE.application_id}")
    old.execute("PRAGMA user_version = 1")
    old.close()
    made = open_database(path, STATE, exclusive=False, synchronous="NORMAL")
    assert made.execute("PRAGMA user_version").fetchone() == (2,)
    entry = Entry(version=3, time=0.0, command=SubmitTask(id="t", queue="q"))
    Machine(made).apply([Committed(1, encode_entry(entry))])
    made.close()
    again = open_database(path, STATE, exclusive=False, synchronous="NORMAL")
    assert task(again, "t", 0.0) is not None
    again.close()


def test_a_file_that_is_of_no_version_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.sqlite"
    open_database(path, STATE, exclusive=False, synchronous="NORMAL").close()
    broken = sqlite3.connect(path)
    for version, said in ((1, "of version 1 is: it is damaged"), (3, "made by a newer flowcore")):
        broken.execute(f"PRAGMA user_version = {version}")
        broken.commit()
        with pytest.raises(UntrustedFile, match=said):
            open_database(path, STATE, exclusive=False, synchronous="NORMAL")
    broken.close()


# ---- live


@pytest.mark.parametrize("kept_in", ["file", "memory"])
async def test_work_is_read_at_every_level_and_passes_with_time(
    tmp_path: pathlib.Path, kept_in: str
) -> None:
    now = [100.0]
    folder = tmp_path / "data" if kept_in == "file" else None
    async with keeping(folder, clock=lambda: now[0]) as kept:
        state = kept.state
        await state.do(SubmitTask(id="t", queue="q", owner=("jwt", "ann")))
        claimed = await state.do(ClaimTask(queue="q", holder="n", seconds=5.0))
        reserved = await state.do(reserve(owner=("jwt", "ann"), scope="agent"))
        await state.do(AcquireLease(name="cron", holder="n", seconds=5.0))
        await state.do(Revoke(ids=("key",), ttl=5.0))
        for level in ReadLevel:
            kept_task = await state.task("t", level=level)
            assert kept_task is not None
            assert (kept_task.state, kept_task.fence) == ("running", claimed.fence)
            page = await state.list_tasks(("jwt", "ann"), level=level)
            assert (page.tasks, page.level) == ((kept_task,), level)
            key_state = await state.key(("jwt", "ann"), "agent", "k", level=level)
            assert key_state is not None
            assert (key_state.state, key_state.fence) == ("running", reserved.fence)
            assert [one.holder for one in await state.leases(name="cron", level=level)] == ["n"]
            assert await state.revoked(("key", "other"), level=level) == ["key"]
            assert [one.id for one in await state.revocations(level=level)] == ["key"]
        with pytest.raises(InvalidArguments, match="no task is 'lost'"):
            await state.list_tasks(("jwt", "ann"), states=("lost",))
        with pytest.raises(TooLarge):  # it was not proposed
            await state.do(SubmitTask(id="u", queue="q", payload=bytes(2**22 + 1)))
        with pytest.raises(IdempotencyConflict):
            await state.do(reserve(owner=("jwt", "ann"), scope="agent", fingerprint=b"g"))
        now[0] = 105.0
        assert await state.leases() == []  # over by the reader's clock
        await state.tidy()
        kept_task = await state.task("t")
        key_state = await state.key(("jwt", "ann"), "agent", "k")
        assert kept_task is not None
        assert key_state is not None
        assert (kept_task.state, key_state.state) == ("queued", "unknown")
        assert await state.revoked(("key",)) == []


async def test_work_is_still_there_when_the_node_starts_again(tmp_path: pathlib.Path) -> None:
    async with keeping(tmp_path, clock=lambda: 1.0) as kept:
        await kept.state.do(SubmitTask(id="t", queue="q", payload=b"p"))
        first = await kept.state.do(ClaimTask(queue="q", holder="n", seconds=5.0))
    async with keeping(tmp_path, clock=lambda: 2.0) as kept:
        told = await kept.state.do(
            EndTask(id="t", fence=first.fence, state="completed", result=b"r")
        )
        assert told.state == "completed"
    async with keeping(tmp_path, clock=lambda: 3.0) as kept:
        found = await kept.state.task("t")
        assert found is not None
        assert (found.payload, found.result, found.attempt) == (b"p", b"r", 1)
