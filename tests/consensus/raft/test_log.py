"""The log beside a plain list, with its disk, through everything that an engine does to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flow_consensus.raft.log import Log, Terms, size_of
from flowcore.state import LogEntry

terms_of_a_log = st.lists(st.integers(1, 4), max_size=20).map(sorted)


def filled(start: int, start_term: int, terms: list[int]) -> Terms:
    runs = Terms(start, start_term)
    for at, term in enumerate(terms, start=start + 1):
        runs.add(at, term)
    return runs


@given(terms_of_a_log, st.integers(0, 5), st.integers(0, 25), st.integers(0, 25))
def test_runs_of_terms_are_a_list_of_terms(
    terms: list[int], start: int, cut: int, begin: int
) -> None:
    runs = filled(start, 1 if start else 0, terms)
    model = {start: 1 if start else 0} | dict(enumerate(terms, start=start + 1))
    last = min(max(cut, start), start + len(terms))
    runs.truncate(last)
    first = min(max(begin, start), last)
    runs.compact(first)
    for position in range(30):
        inside = first <= position <= last
        assert runs.at(position) == (model[position] if inside else None)
    assert (runs.start, runs.last, runs.last_term) == (first, last, model[last])


@given(terms_of_a_log, st.integers(0, 25), st.integers(0, 5))
def test_going_back_by_terms_ends_where_a_scan_ends(
    terms: list[int], position: int, term: int
) -> None:
    runs = filled(0, 0, terms)
    at = min(position, len(terms))
    while at > 0 and terms[at - 1] > term:
        at -= 1
    assert runs.not_after(position, term) == at


class LogMachine(RuleBasedStateMachine):
    """The engine's side does what it may; the books are a list of entries, and a disk as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(0, 0, memory=2000)
        self.model: dict[int, LogEntry] = {}
        self.last = self.start = self.commit = 0
        self.term = 1
        self.disk: dict[int, LogEntry] = {}
        self.flying: list[LogEntry] | None = None
        self.given: list[int] = []

    @rule(count=st.integers(1, 6), size=st.integers(0, 300), later=st.booleans())
    def append(self, count: int, size: int, later: bool) -> None:
        self.term += later
        self._put(self.last + 1, count, size)

    @precondition(lambda self: self.last > self.commit)
    @rule(back=st.integers(1, 10), count=st.integers(1, 4), size=st.integers(0, 300))
    def replace(self, back: int, count: int, size: int) -> None:
        """Another leader's entries, in a later term."""
        self.term += 1
        self._put(max(self.last + 1 - back, self.commit + 1), count, size)

    def _put(self, first: int, count: int, size: int) -> None:
        entries = [LogEntry(first + at, self.term, b"x" * size) for at in range(count)]
        self.log.append(entries)
        for position in range(first, self.last + 1):
            del self.model[position]
        self.model |= {one.position: one for one in entries}
        self.last = entries[-1].position

    @precondition(lambda self: self.flying is None)
    @rule()
    def take(self) -> None:
        self.flying = self.log.take()

    @precondition(lambda self: self.flying is not None)
    @rule()
    def written(self) -> None:
        assert self.flying is not None
        if self.flying:
            first = self.flying[0].position
            self.disk = {at: one for at, one in self.disk.items() if at < first}
            self.disk |= {one.position: one for one in self.flying}
        self.flying = None
        self.log.written()

    @precondition(lambda self: self.last > self.commit)
    @rule(share=st.floats(0, 1))
    def commit_some(self, share: float) -> None:
        self.commit += max(1, int(share * (self.last - self.commit)))
        self.log.commit_to(self.commit)

    @rule()
    def give(self) -> None:
        for entry in self.log.give():
            assert self.model.get(entry.position, entry) == entry
            self.given.append(entry.position)

    @rule(back=st.integers(0, 10))
    def compact(self, back: int) -> None:
        position = min(self.log.given - back, self.log.durable)
        if position > self.start:
            self.log.compact(position)
            self.start = position

    @rule(ahead=st.integers(1, 5))
    def reset(self, ahead: int) -> None:
        self.commit = self.start = self.last = self.last + ahead
        self.model.clear()
        self.disk.clear()
        if self.flying is not None:
            self.flying = []
        self.log.reset(self.last, self.term)
        self.given = list(range(1, self.last + 1))

    @invariant()
    def the_same_entries(self) -> None:
        log = self.log
        assert (log.start, log.last, log.commit) == (self.start, self.last, self.commit)
        assert [one.position for one in log.memory] == list(range(log.offset + 1, log.last + 1))
        for entry in log.memory:
            assert entry == self.model[entry.position]
        for position in range(self.start + 1, self.last + 1):
            assert log.term(position) == self.model[position].term

    @invariant()
    def durable_means_on_the_disk(self) -> None:
        for position in range(self.start + 1, self.log.durable + 1):
            assert self.disk[position] == self.model[position]
        assert self.log.durable <= self.log.taken <= self.log.last
        assert self.log.offset <= min(self.log.given, self.log.durable)

    @invariant()
    def given_in_order_and_only_what_is_committed_and_durable(self) -> None:
        assert self.given == list(range(1, len(self.given) + 1))
        assert len(self.given) <= min(self.log.commit, self.log.durable)

    @invariant()
    def sizes_are_sums(self) -> None:
        log = self.log
        assert log.uncommitted == size_of(log.held(log.commit + 1, log.last))
        assert log._bytes == size_of(log.memory)


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_old_entries_leave_memory_when_they_may() -> None:
    log = Log(0, 0, memory=1000)
    log.append([LogEntry(at, 1, b"x" * 100) for at in range(1, 21)])
    log.take()
    log.written()
    assert log.offset == 0  # nothing is committed
    log.commit_to(18)
    log.give()
    log.append([LogEntry(21, 1, b"x")])
    log.take()
    log.written()
    assert log.offset == 18
    assert log.piece(18, 10, 10_000) is None
    assert [one.position for one in log.piece(19, 10, 10_000) or ()] == [19, 20, 21]
    assert [one.position for one in log.piece(19, 10, 1) or ()] == [19]
