"""Overload in virtual time: what is let in is served in time, and the important before the others."""

from __future__ import annotations

import pytest

from flowcore.resilience import GradientSettings, Shedder, SheddingSettings
from support.queueing import Call, Server

PATIENCE = 0.25
"""How long callers wait, in seconds."""
SERVER = Server(workers=8, service=0.02)


def good(calls: list[Call], seconds: float) -> float:
    """Calls a second that were served before their callers lost patience."""
    return sum(c.ended is not None and c.ended - c.came <= PATIENCE for c in calls) / seconds


def shedder(**shares: float) -> Shedder:
    return Shedder(GradientSettings(), SheddingSettings(**shares))


@pytest.mark.parametrize("seed", range(5))
def test_five_times_the_capacity_costs_less_than_a_fifth_of_the_goodput(seed: int) -> None:
    server = Server(workers=8, service=0.02, seed=seed)
    one = shedder()
    server.serve(0.5 * server.capacity, 20.0, one)
    overload = server.serve(5 * server.capacity, 60.0, one, start=20.0)
    assert good(overload, 60.0) >= 0.8 * server.capacity
    assert good(server.serve(5 * server.capacity, 60.0, None), 60.0) < 0.2 * server.capacity


def test_after_the_overload_everybody_is_served_again() -> None:
    one = shedder()
    SERVER.serve(0.5 * SERVER.capacity, 20.0, one)
    SERVER.serve(5 * SERVER.capacity, 60.0, one, start=20.0)
    after = SERVER.serve(0.5 * SERVER.capacity, 20.0, one, start=80.0)
    assert not any(call.ended is None for call in after)
    assert one.inflight == 0


def test_low_priorities_are_refused_first() -> None:
    one = shedder()
    offered = (0.4, 0.4, 0.2)
    calls = SERVER.serve(1.5 * SERVER.capacity, 60.0, one, shares=offered)
    served = [
        sum(c.ended is not None for c in calls if c.priority == priority)
        / sum(c.priority == priority for c in calls)
        for priority in (0, 1, 2)
    ]
    assert served[0] < served[1] < served[2]
    assert served[2] > 0.95


def test_a_part_of_the_limit_is_kept_for_those_above() -> None:
    one = Shedder(GradientSettings(initial=10), SheddingSettings(low=0.5, normal=0.8))
    assert [one.admit(0, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert [one.admit(1, 0.0) for _ in range(4)] == [True] * 3 + [False]
    assert [one.admit(2, 0.0) for _ in range(3)] == [True] * 2 + [False]
    assert one.inflight == 10


def test_where_nobody_is_somebody_is_let_in() -> None:
    one = Shedder(GradientSettings(initial=1, least=1), SheddingSettings(low=0.0, normal=0.0))
    assert one.admit(0, 0.0)
    assert not one.admit(0, 0.0)
    one.ended(0.1, 0.1)
    assert one.admit(0, 0.1)


def test_the_hint_grows_with_the_crowd_and_is_bounded() -> None:
    one = shedder()
    SERVER.serve(0.5 * SERVER.capacity, 20.0, one)
    calm = one.retry_after()
    SERVER.serve(5 * SERVER.capacity, 20.0, one, start=20.0)
    crowded = one.retry_after()
    assert 0.05 <= calm < crowded <= 30.0


def test_shares_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="expected low to be at most normal"):
        SheddingSettings(low=0.9, normal=0.5)
