"""The engine's edges: whatever it is told, it raises nothing, and what is committed stays."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_consensus.raft import (
    Engine,
    EngineSettings,
    Membership,
    Message,
    Refused,
    Restored,
    Role,
    command_of,
    encode,
)
from flow_consensus.raft.entries import command_data, membership_data
from flow_consensus.raft.messages import (
    Append,
    AppendAnswer,
    Chunk,
    ChunkAnswer,
    Commit,
    Heartbeat,
    HeartbeatAnswer,
    Read,
    ReadAnswer,
    TimeoutNow,
    Vote,
    VoteAnswer,
)
from flow_consensus.raft.restored import HardState
from flowcore.errors import UntrustedFile
from flowcore.state import LogEntry, SnapshotInfo

small = st.integers(0, 6)
short_terms = st.integers(0, 4)
datas = st.sampled_from(
    [b"", command_data(b"x"), membership_data(Membership(voters="abd")), b"\x01?", b"\x09"]
)
about = st.sampled_from([Membership(voters="abc").encode(), b"", b"?"])


@st.composite
def appends(draw: st.DrawFn) -> Append:
    """Plausible ones, and some that are not."""
    previous, term = draw(small), draw(short_terms)
    entries = [
        LogEntry(previous + at, draw(st.sampled_from([term, draw(short_terms)])), draw(datas))
        for at in range(1, draw(st.integers(1, 4)))
    ]
    return Append(term, previous, draw(short_terms), draw(small), entries)


messages: st.SearchStrategy[Message] = st.one_of(
    appends(),
    st.builds(Vote, short_terms, small, short_terms, st.booleans(), st.booleans()),
    st.builds(VoteAnswer, short_terms, st.booleans(), st.booleans()),
    st.builds(AppendAnswer, short_terms, small, st.booleans(), small, short_terms),
    st.builds(Heartbeat, short_terms, small, small),
    st.builds(HeartbeatAnswer, short_terms, small),
    st.builds(Commit, short_terms, small),
    st.builds(TimeoutNow, short_terms),
    st.builds(Read, short_terms, small, st.booleans()),
    st.builds(ReadAnswer, short_terms, small, st.integers(-1, 6)),
    st.builds(Chunk, short_terms, small, short_terms, about, small, st.just(b"s"), st.booleans()),
    st.builds(ChunkAnswer, short_terms, small, small),
)
acts = st.one_of(
    st.tuples(st.sampled_from(["a", "b", "c", "d", "x"]), messages),
    st.sampled_from(["tick", "persist", "propose", "campaign", "read", "transfer", "stored"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(acts, max_size=60), st.integers(0, 5))
def test_no_message_does_harm(script: list[object], seed: int) -> None:
    engine = Engine("a", Restored(b"", (0, 0), voters="abc"), chance=Random(seed))
    committed: dict[int, LogEntry] = {}
    votes: dict[int, str] = {}
    write = None
    term = commit = 0
    for act in script:
        if isinstance(act, tuple):
            assert isinstance(engine.step(*act), str)
        elif act == "tick":
            for _ in range(16):
                engine.tick()
        elif act == "persist" and write is not None:
            engine.persisted(write.number)
            write = None
        elif act == "campaign":
            engine.campaign()
        elif act == "stored" and engine._storing is not None:
            engine.chunk_stored(engine._storing.info.position, engine._storing.number)
        else:
            try:
                if act == "propose":
                    engine.propose([b"p"])
                elif act == "read":
                    engine.read_index("r", leased=True)
                elif act == "transfer":
                    engine.transfer_leadership("b")
            except Refused as refused:
                assert str(refused)
        ready = engine.ready()
        if ready.write is not None:
            assert write is None
            write = ready.write
        for _, message in ready.messages:
            assert encode(message)
        if ready.snapshot is not None:
            committed = {at: one for at, one in committed.items() if at > ready.snapshot.position}
        for entry in ready.committed:
            assert committed.setdefault(entry.position, entry) == entry
        assert engine.term >= term
        assert engine.log.commit >= commit
        if engine.vote:
            assert votes.setdefault(engine.term, engine.vote) == engine.vote
        term, commit = engine.term, engine.log.commit
    assert engine.status().refused.keys() <= {str(one) for one in engine.refused}


def kept(commit: int, runs: list[tuple[int, int]], **more: object) -> bytes:
    """A hard state."""
    fields = {
        "version": 1,
        "node": "a",
        "cluster": "flow",
        "term": 2,
        "vote": "a",
        "commit": commit,
        "runs": runs,
        "base": 0,
        "membership": Membership(voters="abc").encode(),
    }
    return msgspec.msgpack.encode(HardState(**(fields | more)))  # type: ignore[arg-type]


def restored(hard_state: bytes, entries: list[LogEntry], **more: object) -> Engine:
    compacted, snapshot = more.pop("compacted", (0, 0)), more.pop("snapshot", None)
    found = Restored(hard_state, compacted, snapshot, **more)  # type: ignore[arg-type]
    found.add(entries)
    return Engine("a", found)


GOOD = [LogEntry(1, 1, b""), LogEntry(2, 2, command_data(b"x"))]
ONE = kept(1, [(0, 0), (1, 1)])
BOTH = kept(2, [(0, 0), (1, 1), (2, 2)])


def test_a_node_is_restored_with_all_entries_or_with_those_that_are_not_committed() -> None:
    for entries, last in ((GOOD, None), (GOOD, 2), (GOOD[1:], 2)):
        engine = restored(ONE, entries, last=last, node="a", cluster="flow")
        assert (engine.term, engine.vote, engine.log.last, engine.log.commit) == (2, "a", 2, 1)
        assert [engine.log.term(at) for at in range(4)] == [0, 1, 2, None]
        assert engine.membership.voters == set("abc")
    engine = restored(BOTH, [], last=2)
    assert (engine.log.last, engine.log.commit, engine.log.offset) == (2, 2, 2)
    engine = restored(BOTH, [], last=2, compacted=(1, 1))
    assert (engine.log.start, engine.log.term(0)) == (1, None)
    # a node that stopped before the storage had let go of what the engine had
    ahead = kept(2, [(1, 1), (2, 2)])
    for entries, last in ((GOOD, None), ([], 2)):
        engine = restored(ahead, entries, last=last)
        assert (engine.log.start, engine.log.last) == (1, 2)


@pytest.mark.parametrize(
    ("hard_state", "entries", "more", "why"),
    [
        (b"?", GOOD, {}, "hard state cannot be read"),
        (kept(1, [(0, 0), (1, 1)], version=2), GOOD, {}, "of version 2"),
        (ONE, GOOD, {"node": "b"}, "of node 'a', and this is 'b'"),
        (ONE, GOOD, {"cluster": "other"}, "of cluster 'flow', and this is 'other'"),
        (ONE, [LogEntry(3, 2, b"")], {}, "entry 2 is missing"),
        (ONE, [GOOD[0], LogEntry(3, 2, b"")], {}, "entry 2 is missing"),
        (ONE, [GOOD[0], LogEntry(2, 0, b"")], {}, "after one of 1"),
        (ONE, [LogEntry(1, 2, b"")], {}, "of term 2, and of 1 by the"),
        (BOTH, GOOD[:1], {}, "its end is lost"),
        (BOTH, [], {"last": 1}, "its end is lost"),
        (ONE, GOOD[:1], {"applied": 2}, "its end is lost"),
        (ONE, [], {"last": 2}, "was read to 1 only"),
        (ONE, [GOOD[0], LogEntry(2, 3, b"")], {}, "ends in term 3"),
        (ONE, [GOOD[0], LogEntry(2, 2, b"\x09")], {}, "kind 9"),
        (ONE, [GOOD[0], LogEntry(2, 2, b"\x01?")], {}, "no configuration"),
        (ONE, [], {"compacted": (5, 2)}, "who was a voter"),
        (BOTH, [], {"compacted": (1, 2), "last": 2}, "of term 2, and of 1 by the"),
        (b"", [], {"compacted": (5, 2)}, "who was a voter"),
        (b"", [], {"snapshot": SnapshotInfo(position=3, term=1, about=b"?")}, "no configuration"),
        (kept(1, []), GOOD, {}, "what cannot be"),
        (kept(1, [(0, 0), (2, 1)]), GOOD, {}, "what cannot be"),
        (kept(1, [(0, 0), (1, 0)]), GOOD, {}, "what cannot be"),
        (kept(1, [(1, 1), (0, 2)]), GOOD, {}, "what cannot be"),
        (kept(1, [(0, 0), (1, 1)], membership=b"?"), GOOD, {}, "no configuration"),
    ],
)
def test_what_no_engine_has_written_is_refused(
    hard_state: bytes, entries: list[LogEntry], more: dict[str, object], why: str
) -> None:
    with pytest.raises(UntrustedFile, match=why):
        restored(hard_state, entries, **dict(more))


def test_a_node_that_stopped_between_a_snapshot_and_its_hard_state_has_the_snapshot() -> None:
    info = SnapshotInfo(position=7, term=2, about=Membership(voters="ab").encode())
    engine = restored(ONE, [], compacted=(7, 2), snapshot=info, last=7)
    assert (engine.log.start, engine.log.commit) == (7, 7)
    assert engine.membership.voters == set("ab")


@pytest.mark.parametrize("compacted", [(0, 0), (7, 3)])
def test_a_node_that_has_the_snapshot_of_a_later_term_is_in_that_one(
    compacted: tuple[int, int],
) -> None:
    """The snapshot was stored, and the hard state of its term was not yet: seed 6000338."""
    info = SnapshotInfo(position=7, term=3, about=Membership(voters="ab").encode())
    engine = restored(kept(0, [(0, 0)]), [], compacted=compacted, snapshot=info)
    assert (engine.term, engine.vote, engine.log.last) == (3, "", 7)
    write = engine.ready().write  # before all that comes of it
    assert write is not None
    assert write.hard_state is not None
    again = restored(write.hard_state, [], compacted=(7, 3), snapshot=info)
    assert (again.term, again.log.last, again.log.commit) == (3, 7, 7)


def test_what_an_engine_writes_is_what_it_finds_again() -> None:
    engine = Engine("a", Restored(b"", (0, 0), voters="a", cluster="flow"))
    hard_state, entries = b"", []
    for round_ in range(3):
        engine.campaign(force=True)
        for _ in range(5):
            while ready := engine.ready():
                if ready.write is not None:
                    hard_state = ready.write.hard_state or hard_state
                    entries += ready.write.entries
                    engine.persisted(ready.write.number)
            engine.propose([b"%d" % round_])
        engine.resign("to stand again")
        engine.recover()
    again = Restored(hard_state, (0, 0), last=len(entries), node="a", cluster="flow")
    assert again.first > 10
    again.add(entries[again.first - 1 :])
    other = Engine("a", again)
    assert (other.term, other.vote) == (engine.term, engine.vote)
    for position in range(len(entries) + 1):
        assert other.log.term(position) == engine.log.term(position)
    assert other.membership == engine.membership


def test_a_snapshot_alone_is_a_beginning() -> None:
    """As when a snapshot is put into an empty storage."""
    info = SnapshotInfo(position=7, term=3, about=Membership(voters="a").encode())
    engine = Engine("a", Restored(b"", (0, 0), info))
    ready = engine.ready()
    assert ready.write is not None
    assert ready.write.reset == (7, 3)
    assert ready.snapshot == info
    engine.persisted(ready.write.number)
    engine.campaign()
    first = engine.ready().write
    assert first is not None
    engine.persisted(first.number)
    assert engine.role is Role.LEADER
    assert engine.term == 4
    assert engine.propose([b"next"]) == 9


def test_what_is_asked_wrongly_is_an_error_of_the_caller() -> None:
    engine = Engine("a", Restored(b"", (0, 0), voters="a"))
    with pytest.raises(ValueError, match="not under way"):
        engine.persisted(1)
    with pytest.raises(ValueError, match="handed out"):
        engine.compact(1)
    with pytest.raises(ValueError, match="can be described"):
        engine.describe(1)
    with pytest.raises(ValueError, match="no name"):
        Engine("", Restored(b"", (0, 0)))
    with pytest.raises(ValueError, match="heartbeat_ticks"):
        EngineSettings(heartbeat_ticks=15)
    with pytest.raises(ValueError, match="window"):
        EngineSettings(window=0)


def test_a_command_is_what_was_proposed() -> None:
    engine = Engine("a", Restored(b"", (0, 0), voters="a"))
    committed: list[LogEntry] = []

    def run() -> None:
        while ready := engine.ready():
            if ready.write is not None:
                engine.persisted(ready.write.number)
            committed.extend(ready.committed)

    run()
    engine.campaign()
    run()
    with pytest.raises(ValueError, match="no commands"):
        engine.propose([])
    assert engine.propose([b"one", b"", b"\x01two"]) == 2
    run()
    assert [command_of(one.data) for one in committed] == [b"", b"one", b"", b"\x01two"]
    assert engine.compact(3) == 3
    write = engine.ready().write
    assert write is not None
    assert write.compact == 3


def test_nothing_is_committed_beyond_what_was_compared() -> None:
    """The end of a log may be of a leader that is gone, and be replaced (Raft, figure 2, AppendEntries 5)."""
    engine = Engine("a", Restored(b"", (0, 0), voters="abc"))
    last, term = engine.log.last, engine.log.last_term
    tail = [LogEntry(last + at, term + 1, command_data(b"old")) for at in (1, 2, 3)]
    assert engine.step("b", Append(term + 1, last, term, 0, tail)) == ""
    assert engine.step("c", Append(term + 2, last + 1, term + 1, last + 3, [])) == ""
    assert (engine.log.last, engine.log.commit) == (last + 3, last + 1)
