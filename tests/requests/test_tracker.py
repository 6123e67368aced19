"""The tracker: exactly one outcome per request, bounded memory."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowcore.envelope import Envelope, Principal
from flowcore.errors import InvalidRequest, Overloaded
from flowcore.requests import Entry, Outcome, Tracker


def tracker(
    *, limit: int = 100, keep: float = 60.0, most: int = 100, most_bytes: int = 1 << 20
) -> Tracker:
    return Tracker(limit=limit, keep=keep, most=most, most_bytes=most_bytes)


def request(id_: str = "1", *, name: str = "tool", deadline: float = 10.0) -> Envelope:
    return Envelope(id=id_, agent="mine", name=name, params={}, deadline=deadline)


def test_a_request_is_tracked_from_acceptance_to_its_outcome() -> None:
    one = tracker()
    entry = one.track(request(), 1.0)
    assert one.running == 1
    assert one.find("1", 1.0) is entry
    assert (entry.agent, entry.method, entry.name) == ("mine", "tools/call", "tool")
    assert (entry.principal, entry.accepted, entry.deadline) == ("local", 1.0, 10.0)
    assert not entry.began
    assert entry.envelope is not None
    entry.envelope.began = True
    assert entry.began
    assert one.resolve(entry, Outcome.RESULT, 3.0)
    assert one.running == 0
    assert one.find("1", 3.0) is entry
    assert (entry.outcome, entry.ended, entry.envelope) == (Outcome.RESULT, 3.0, None)


def test_a_second_outcome_is_dropped_and_counted() -> None:
    one = tracker()
    entry = one.track(request(), 0.0)
    assert one.resolve(entry, Outcome.EXPIRED, 1.0, "too slow")
    assert not one.resolve(entry, Outcome.RESULT, 2.0)
    one.late()
    assert (entry.outcome, entry.error, entry.ended) == (Outcome.EXPIRED, "too slow", 1.0)
    statistics = one.statistics()
    assert (statistics.expired, statistics.results, statistics.late) == (1, 0, 2)


def test_an_id_is_taken_once() -> None:
    one = tracker()
    entry = one.track(request(), 0.0)
    with pytest.raises(InvalidRequest, match="'1' is known already"):
        one.track(request(), 0.0)
    one.resolve(entry, Outcome.RESULT, 1.0)
    with pytest.raises(InvalidRequest, match="known already"):
        one.track(request(), 2.0)
    for wrong in ("", "x" * 129):
        with pytest.raises(InvalidRequest, match="1 to 128 characters"):
            one.track(request(wrong), 2.0)
    assert one.statistics().refused == 4


def test_a_full_node_refuses_with_a_hint() -> None:
    one = tracker(limit=2)
    first = one.track(request("1"), 0.0)
    one.track(request("2"), 0.0)
    with pytest.raises(Overloaded, match="2 requests are waiting") as caught:
        one.track(request("3"), 0.0)
    assert caught.value.retry_after == 1.0
    assert not caught.value.began
    one.resolve(first, Outcome.RESULT, 4.0)
    one.track(request("3"), 4.0)
    with pytest.raises(Overloaded) as caught:
        one.track(request("4"), 4.0)
    assert caught.value.retry_after == 4.0


def test_outcomes_are_kept_for_a_time() -> None:
    one = tracker(keep=60.0)
    one.resolve(one.track(request("1"), 0.0), Outcome.RESULT, 1.0)
    one.resolve(one.track(request("2"), 0.0), Outcome.RESULT, 10.0)
    assert one.find("1", 61.0) is not None
    assert one.find("1", 61.1) is None
    assert one.find("2", 61.1) is not None
    assert one.statistics().kept == 1


def test_outcomes_are_kept_up_to_a_number_and_a_size() -> None:
    few = tracker(most=2)
    none = tracker(most=0)
    small = tracker(most_bytes=2000)
    for number in range(4):
        for one in (few, none, small):
            envelope = request(str(number), name="n" * 500)
            one.resolve(one.track(envelope, 0.0), Outcome.ERROR, 0.0, "e" * 1000)
    assert [entry.id for entry in few.entries()] == ["3", "2"]
    assert list(none.entries()) == []
    assert [entry.id for entry in small.entries()] == ["3", "2"]
    assert small.statistics().kept_bytes <= 2000
    entry = next(few.entries())
    assert (len(entry.name), len(entry.error)) == (256, 256)
    assert entry.size == 448 + 1 + 256 + 256 + len("local")


def test_a_long_principal_is_cut() -> None:
    one = tracker()
    envelope = request().again(principal=Principal(name="p" * 1000))
    assert len(one.track(envelope, 0.0).principal) == 256


def test_entries_are_listed_running_first() -> None:
    one = tracker()
    a, b, c, d = (one.track(request(name), 0.0) for name in "abcd")
    one.resolve(b, Outcome.CANCELLED, 1.0)
    one.resolve(a, Outcome.ERROR, 2.0)
    assert list(one.entries()) == [c, d, a, b]


def test_what_does_not_stop_at_its_deadline_expires_after_a_grace() -> None:
    one = tracker()
    soon = one.track(request("soon", deadline=5.0), 0.0)
    later = one.track(request("later", deadline=9.0), 0.0)
    envelope = request("asking", deadline=5.0)
    asking = one.track(envelope, 0.0)
    envelope.stop_clock(1.0)
    assert one.expire(5.5, grace=1.0) == []
    assert one.expire(6.0, grace=1.0) == [soon]
    assert (soon.outcome, later.outcome, asking.outcome) == (Outcome.EXPIRED, None, None)
    envelope.start_clock(6.0)
    assert one.expire(9.9) == [later]
    assert one.expire(10.0) == [asking]


def test_statistics_count_every_outcome() -> None:
    one = tracker()
    for number, outcome in enumerate(
        [Outcome.RESULT, Outcome.RESULT, Outcome.ERROR, Outcome.CANCELLED, Outcome.EXPIRED]
    ):
        one.resolve(one.track(request(str(number)), 0.0), outcome, 0.25)
    one.track(request("x"), 0.0)
    one.refuse()
    one.retries += 1
    one.replayed += 2
    statistics = attrs.asdict(one.statistics())
    durations = statistics.pop("durations")
    assert statistics == {
        "accepted": 6,
        "running": 1,
        "results": 2,
        "errors": 1,
        "cancelled": 1,
        "expired": 1,
        "refused": 1,
        "late": 0,
        "retries": 1,
        "replayed": 2,
        "kept": 5,
        "kept_bytes": 5 * (448 + 1 + 4 + 5),
    }
    assert durations["count"] == 5
    assert durations["mean"] == 0.25
    assert durations["p50"] == durations["longest"] == 0.25


class TrackerMachine(RuleBasedStateMachine):
    """Random lives of a tracker: whatever is done, each request has one outcome, and counts add up."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limit, self.keep, self.most, self.most_bytes = 4, 20.0, 3, 1300
        self.tracker = Tracker(
            limit=self.limit, keep=self.keep, most=self.most, most_bytes=self.most_bytes
        )
        self.running: dict[str, Entry] = {}
        self.ended: dict[str, tuple[Entry, Outcome, float]] = {}
        self.accepted = self.refused = self.late = 0
        self.outcomes = dict.fromkeys(Outcome, 0)

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(id_=st.sampled_from("abcdefgh"), patience=st.sampled_from([1.0, 10.0, math.inf]))
    def track(self, id_: str, patience: float) -> None:
        kept = any(entry.id == id_ for entry in self.tracker.entries())
        try:
            entry = self.tracker.track(request(id_, deadline=self.now + patience), self.now)
        except InvalidRequest:
            assert kept
            self.refused += 1
        except Overloaded:
            assert len(self.running) == self.limit
            self.refused += 1
        else:
            assert not kept
            assert len(self.running) < self.limit
            self.running[id_] = entry
            self.ended.pop(id_, None)
            self.accepted += 1

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def resolve(self, data: st.DataObject, outcome: Outcome) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.running)))
        entry = self.running.pop(id_)
        assert self.tracker.resolve(entry, outcome, self.now)
        self.ended[id_] = (entry, outcome, self.now)
        self.outcomes[outcome] += 1

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def resolve_again(self, data: st.DataObject, outcome: Outcome) -> None:
        entry, first, at = self.ended[data.draw(st.sampled_from(sorted(self.ended)))]
        assert not self.tracker.resolve(entry, outcome, self.now)
        self.late += 1
        assert (entry.outcome, entry.ended) == (first, at)

    @rule(grace=st.sampled_from([0.0, 1.0]))
    def expire(self, grace: float) -> None:
        due = {id_ for id_, entry in self.running.items() if entry.deadline + grace <= self.now}
        assert {entry.id for entry in self.tracker.expire(self.now, grace)} == due
        for id_ in due:
            self.ended[id_] = (self.running.pop(id_), Outcome.EXPIRED, self.now)
            self.outcomes[Outcome.EXPIRED] += 1

    @rule(id_=st.sampled_from("abcdefgh"))
    def find(self, id_: str) -> None:
        found = self.tracker.find(id_, self.now)
        if id_ in self.running:
            assert found is self.running[id_]
        elif found is not None:
            assert found is self.ended[id_][0]
            assert self.now - found.ended <= self.keep

    @invariant()
    def counts_add_up_and_memory_is_bounded(self) -> None:
        said = self.tracker.statistics()
        assert said.accepted == self.accepted
        assert said.refused == self.refused
        assert said.late == self.late
        assert said.running == len(self.running) <= self.limit
        assert said.accepted == said.running + sum(self.outcomes.values())
        assert said.results == self.outcomes[Outcome.RESULT]
        assert said.errors == self.outcomes[Outcome.ERROR]
        assert said.cancelled == self.outcomes[Outcome.CANCELLED]
        assert said.expired == self.outcomes[Outcome.EXPIRED]
        assert said.kept <= self.most
        assert said.kept_bytes <= self.most_bytes
        listed = list(self.tracker.entries())
        assert len(listed) == said.running + said.kept
        assert said.kept_bytes == sum(one.size for one in listed if one.outcome is not None)


TestTrackerMachine = TrackerMachine.TestCase
TestTrackerMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
