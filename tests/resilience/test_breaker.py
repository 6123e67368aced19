"""What a breaker promises, one sentence at a time."""

from __future__ import annotations

import pytest

from flowcore.resilience import Breaker, BreakerSettings, BreakerState, Ticket, Verdict
from flowcore.resilience.breaker import SOON

FAIL, SUCCEED, NOTHING = Verdict.FAILURE, Verdict.SUCCESS, Verdict.NOTHING
DEFAULTS = BreakerSettings()


def state_of(breaker: Breaker) -> BreakerState:
    """Its state, which a type checker must not believe to stay."""
    return breaker.state


def ended(breaker: Breaker, verdict: Verdict, now: float, seconds: float = 0.1) -> None:
    """A call that is let through and ends at once."""
    ticket = breaker.ask(now)
    assert ticket is not None
    breaker.tell(ticket, verdict, seconds, now)


def opened(settings: BreakerSettings = DEFAULTS, now: float = 0.0) -> Breaker:
    """A breaker that has just opened for ten failures."""
    breaker = Breaker(settings, now)
    for _ in range(settings.calls):
        ended(breaker, FAIL, now)
    assert state_of(breaker) is BreakerState.OPEN
    return breaker


def probes(breaker: Breaker, now: float, asked: int = 20) -> list[Ticket]:
    """Those of many calls at once that are let through."""
    return [one for one in (breaker.ask(now) for _ in range(asked)) if one is not None]


def test_the_defaults_are_those_of_the_requirements() -> None:
    assert (DEFAULTS.failures, DEFAULTS.calls, DEFAULTS.window) == (0.5, 10, 60.0)
    assert (DEFAULTS.open, DEFAULTS.probes) == (30.0, 3)


def test_opens_at_half_of_ten_calls() -> None:
    breaker = Breaker(DEFAULTS, 0.0)
    for verdict in [SUCCEED] * 5 + [FAIL] * 4:
        ended(breaker, verdict, 1.0)
    assert state_of(breaker) is BreakerState.CLOSED
    ended(breaker, FAIL, 1.0)
    assert state_of(breaker) is BreakerState.OPEN
    assert breaker.reason == "5 of 10 calls failed within 60 s"
    assert breaker.ask(30.9) is None
    assert breaker.retry_after(11.0) == 20.0


def test_failures_of_long_ago_do_not_count() -> None:
    breaker = Breaker(DEFAULTS, 0.0)
    for _ in range(9):
        ended(breaker, FAIL, 0.0)
    for _ in range(9):
        ended(breaker, FAIL, 61.0)
    assert state_of(breaker) is BreakerState.CLOSED
    ended(breaker, FAIL, 61.0)
    assert state_of(breaker) is BreakerState.OPEN


def test_the_last_calls_can_count_instead_however_long_ago() -> None:
    breaker = Breaker(BreakerSettings(calls=4, last_calls=4), 0.0)
    for day in range(3):
        ended(breaker, FAIL, day * 86400.0)
        ended(breaker, SUCCEED, day * 86400.0)
        if breaker.state is BreakerState.OPEN:
            break
    assert breaker.reason == "2 of 4 calls failed"


def test_slow_calls_open_it_even_if_they_succeed() -> None:
    breaker = Breaker(BreakerSettings(slow=1.0, slow_calls=0.8), 0.0)
    for seconds in [0.5, 1.0] + [1.1] * 7:
        ended(breaker, SUCCEED, 0.0, seconds)
    assert state_of(breaker) is BreakerState.CLOSED
    ended(breaker, SUCCEED, 0.0, 9.0)
    assert state_of(breaker) is BreakerState.OPEN
    assert breaker.reason == "8 of 10 calls took longer than 1 s within 60 s"


def test_half_open_exactly_three_of_many_are_let_through() -> None:
    breaker = opened()
    tickets = probes(breaker, 30.0, asked=100)
    assert len(tickets) == 3
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.retry_after(30.0) == SOON
    assert breaker.refused == 97


def test_probes_that_succeed_close_it_and_those_that_fail_open_it() -> None:
    for verdict, state in ((SUCCEED, BreakerState.CLOSED), (FAIL, BreakerState.OPEN)):
        breaker = opened()
        for ticket in probes(breaker, 30.0):
            breaker.tell(ticket, verdict, 0.1, 31.0)
        assert state_of(breaker) is state
    assert breaker.reason == "2 of 2 probes failed, of 3"
    assert breaker.opened == 2
    assert breaker.ask(60.9) is None
    assert breaker.ask(61.0) is not None


def test_a_probe_that_is_cancelled_gives_its_place_back() -> None:
    breaker = opened()
    first, *_others = probes(breaker, 30.0)
    breaker.tell(first, NOTHING, 0.1, 31.0)
    assert len(probes(breaker, 31.0)) == 1
    assert state_of(breaker) is BreakerState.HALF_OPEN


def test_a_probe_that_hangs_has_failed_and_its_end_does_not_count() -> None:
    breaker = opened()
    hung = probes(breaker, 30.0)
    assert breaker.ask(89.9) is None
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.ask(90.0) is None
    assert state_of(breaker) is BreakerState.OPEN
    (late, *_rest) = hung
    breaker.tell(late, SUCCEED, 70.0, 100.0)
    assert state_of(breaker) is BreakerState.OPEN
    assert breaker.late == 1


def test_one_hanging_probe_among_good_ones_does_not_keep_it_from_closing() -> None:
    breaker = opened()
    _hangs, *others = probes(breaker, 30.0)
    for ticket in others:
        breaker.tell(ticket, SUCCEED, 0.1, 30.1)
    assert state_of(breaker) is BreakerState.CLOSED


def test_late_results_of_an_earlier_state_move_nothing() -> None:
    breaker = Breaker(DEFAULTS, 0.0)
    early = [breaker.ask(0.0) for _ in range(30)]
    for ticket in early[:10]:
        assert ticket is not None
        breaker.tell(ticket, FAIL, 0.1, 1.0)
    assert state_of(breaker) is BreakerState.OPEN
    asked = probes(breaker, 31.0)
    for ticket in early[10:20]:  # half open: a success of before must not close it
        assert ticket is not None
        breaker.tell(ticket, SUCCEED, 31.0, 31.5)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    for ticket in asked[:2]:
        breaker.tell(ticket, SUCCEED, 0.1, 32.0)
    assert state_of(breaker) is BreakerState.CLOSED
    for ticket in early[20:]:  # closed again: failures of before must not open it
        assert ticket is not None
        breaker.tell(ticket, FAIL, 33.0, 33.0)
    assert state_of(breaker) is BreakerState.CLOSED
    assert breaker.late == 20


def test_cancelled_calls_are_no_failures_and_no_calls() -> None:
    breaker = Breaker(DEFAULTS, 0.0)
    for _ in range(100):
        ended(breaker, NOTHING, 0.0, 1e6)
    assert state_of(breaker) is BreakerState.CLOSED
    assert breaker.status(0.0).calls == 0


def test_an_operator_opens_and_closes_it_and_lets_it_go() -> None:
    seen: list[tuple[str, str, str]] = []
    breaker = Breaker(
        DEFAULTS, 0.0, changed=lambda old, new, why: seen.append((old.value, new.value, why))
    )
    breaker.force_open(1.0, "maintenance")
    assert breaker.ask(1e6) is None
    assert breaker.retry_after(1.0) == DEFAULTS.open
    breaker.force_closed(2.0)
    for _ in range(50):
        ended(breaker, FAIL, 2.0)
    assert state_of(breaker) is BreakerState.FORCED_CLOSED
    breaker.reset(3.0)
    for _ in range(10):
        ended(breaker, FAIL, 3.0)
    assert [one[:2] for one in seen] == [
        ("closed", "forced open"),
        ("forced open", "forced closed"),
        ("forced closed", "closed"),
        ("closed", "open"),
    ]
    assert seen[0][2] == "maintenance"


def test_a_clock_that_jumps_back_leaves_it_open_for_no_longer_than_it_should_be() -> None:
    breaker = opened(now=7200.0)
    assert breaker.retry_after(3600.0) == 30.0
    assert breaker.ask(3629.9) is None
    assert breaker.ask(3630.0) is not None


def test_says_what_it_is_and_why() -> None:
    status = opened().status(12.0)
    assert (status.state, status.reason) == ("open", "10 of 10 calls failed within 60 s")
    assert (status.since, status.probe_in) == (12.0, 18.0)
    assert (status.allowed, status.refused, status.opened) == (10, 0, 1)


def test_a_window_of_fewer_calls_than_must_have_ended_is_refused() -> None:
    with pytest.raises(ValueError, match="expected last_calls to be at least calls, not 5 and 10"):
        BreakerSettings(last_calls=5)
