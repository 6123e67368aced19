"""Round trips and waits, by numbers."""

from __future__ import annotations

import random

import pytest

from flowcore.swarm.links.backoff import Backoff
from flowcore.swarm.links.roundtrip import RoundTrip


def test_a_ping_is_due_at_its_interval_and_one_at_a_time() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 10.0)
    assert trip.due(10.0) == 1
    assert trip.due(11.5) is None  # the first one is not answered
    assert not trip.answered(7, 11.5)
    assert trip.answered(1, 11.5)
    assert not trip.answered(1, 11.6)
    assert (trip.smoothed, trip.variation, trip.timeout) == (1.5, 0.75, 4.5)
    assert trip.due(11.5) == 2


def test_who_slept_itself_blames_nobody_and_measures_nothing() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    assert trip.overdue(9.0)
    trip.slept(9.0)
    assert not trip.overdue(9.1)
    assert trip.answered(1, 9.1)
    assert trip.smoothed is None
    assert trip.due(20.0) == 2
    assert trip.overdue(25.0)


def test_who_is_doubted_is_asked_at_once_and_given_less_time() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    assert trip.answered(1, 0.0)
    trip.doubt(0.2)
    assert trip.due(0.2) == 2
    trip.doubt(0.6)  # doubted already: that does not begin anew
    assert not trip.overdue(0.69)
    assert trip.overdue(0.7)
    assert trip.waited(0.7) == pytest.approx(0.5)
    trip.slept(1.0)
    assert not trip.overdue(1.69)
    assert trip.answered(2, 1.69)
    assert trip.due(2.19) is None
    assert trip.due(2.2) == 3  # one second after it was asked, for the time slept does not count
    assert not trip.overdue(7.1)
    assert trip.overdue(7.2)


def test_who_is_doubted_while_it_is_asked_has_to_answer_that() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    trip.doubt(0.4)
    assert trip.due(0.4) is None
    assert not trip.overdue(0.89)
    assert trip.overdue(0.9)


def test_who_is_doubted_and_heard_has_as_long_again_but_no_longer_than_without_doubt() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    trip.heard(0.1)  # without a doubt that is nothing
    trip.doubt(0.2)
    trip.heard(0.6)
    assert not trip.overdue(1.09)
    assert trip.overdue(1.1)
    trip.heard(4.9)
    assert not trip.overdue(4.99)
    assert trip.overdue(5.0)


def test_a_doubt_has_longer_by_what_this_side_is_late_itself() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    trip.doubt(0.2)
    for _ in range(4):
        trip.slept(0.25)  # a busy loop
    assert not trip.overdue(1.69)
    assert trip.overdue(1.7)
    assert trip.waited(1.7) == pytest.approx(1.7)
    assert trip.answered(1, 1.7)
    assert trip.smoothed == pytest.approx(1.7)  # which is what it took


def test_who_is_held_for_dead_is_not_waited_for_because_it_is_heard() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    trip.doubt(0.2)
    trip.doubt(0.3, grave=True)
    trip.heard(0.6)
    assert not trip.overdue(0.69)
    assert trip.overdue(0.7)


def test_a_slow_link_has_longer_but_where_the_doubt_is_grave() -> None:
    trip = RoundTrip(1.0, 5.0, 0.5, 0.0)
    assert trip.due(0.0) == 1
    assert trip.answered(1, 0.2)
    assert trip.timeout == pytest.approx(0.6)
    trip.doubt(1.0)
    assert trip.due(1.0) == 2
    assert not trip.overdue(2.0)
    assert trip.overdue(2.25)
    trip.doubt(1.5)
    assert not trip.overdue(2.0)
    trip.doubt(1.25, grave=True)
    assert not trip.overdue(1.5)
    assert trip.overdue(1.75)


def test_waits_double_up_to_the_most_with_a_half_drawn_by_chance() -> None:
    backoff = Backoff(0.1, 5.0, random.Random(1))
    waits = [backoff.failed() for _ in range(2000)]
    for index, wait in enumerate(waits):
        full = min(5.0, 0.1 * 2.0 ** min(index, 60))
        assert full / 2 <= wait <= full
    assert 3.5 < sum(waits[10:]) / len(waits[10:]) < 4.0
    again = Backoff(0.1, 5.0, random.Random(1))
    assert [again.failed() for _ in range(2000)] == waits


def test_a_link_that_stood_long_enough_makes_the_next_wait_short() -> None:
    backoff = Backoff(0.1, 5.0, random.Random(1))
    for _ in range(10):
        backoff.failed()
    backoff.stood(4.9)
    assert backoff.failed() >= 2.5
    backoff.stood(5.0)
    assert backoff.failed() <= 0.1
    assert backoff.failures == pytest.approx(1)
