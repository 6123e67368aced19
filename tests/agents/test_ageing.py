"""Ageing: however many of high priority come, whoever waits gets a worker within a known time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from flowcore.agents.pool import Pool, PoolLimits, Slot, Waiter
from flowcore.envelope import Priority
from support.balancing import FirstFree


def pool_of_one(ageing: float) -> tuple[Pool, Slot]:
    """A pool of one worker, and the worker, taken."""
    limits = PoolLimits(min=1, max=1, concurrency=1, idle_timeout=30.0, queue=10_000, ageing=ageing)
    pool = Pool(limits, FirstFree())
    pool.start()
    slot = pool.up(1, None, 0.0)
    assert pool.take(None, 0.0) is slot
    return pool, slot


def waiter(pool: Pool, priority: int, now: float) -> Waiter:
    one = Waiter(lambda: None, priority, None, now)
    assert pool.wait(one)
    return one


@given(
    ageing=st.floats(0.1, 10),
    priority=st.sampled_from([0, 1]),
    services=st.lists(st.floats(0.01, 5), min_size=1, max_size=100),
    before=st.integers(0, 5),
)
def test_a_constant_stream_of_high_priority_lets_nobody_starve(
    ageing: float, priority: int, services: list[float], before: int
) -> None:
    """Two times of ageing at most (one for normal), and then only after those of high priority before it."""
    pool, slot = pool_of_one(ageing)
    for _ in range(before):
        waiter(pool, 2, 0.0)
    patient = waiter(pool, priority, 1.0)
    now = 1.0
    for seconds in services:
        waiter(pool, 2, now + seconds / 2)
        now += seconds
        pool.give_back(slot, now, seconds, True)
        before -= 1
        if patient.slot is not None:
            break
        steps = math.floor((now - patient.since) / ageing)
        assert priority + steps < 2 or before >= 0


@given(
    priority=st.sampled_from([0, 1, 2]),
    times=st.lists(st.floats(0, 100), min_size=2, max_size=30).map(sorted),
)
def test_equals_keep_their_order_whatever_they_have_aged_to(
    priority: int, times: list[float]
) -> None:
    pool, slot = pool_of_one(1.0)
    waiters = [waiter(pool, priority, at) for at in times]
    for one in waiters:
        pool.give_back(slot, times[-1], 0.1, True)
        assert one.slot is slot
        one.slot = None


def test_who_has_aged_to_a_priority_goes_by_arrival_among_it() -> None:
    pool, slot = pool_of_one(5.0)
    low = waiter(pool, Priority.LOW, 0.0)
    first_high = waiter(pool, Priority.HIGH, 1.0)
    normal = waiter(pool, Priority.NORMAL, 2.0)
    pool.give_back(slot, 6.0, 1.0, True)  # low counts as normal now
    assert (low.slot, first_high.slot, normal.slot) == (None, slot, None)
    high = waiter(pool, Priority.HIGH, 6.5)
    pool.give_back(slot, 10.0, 1.0, True)  # as high, like normal: the one that came first
    assert (low.slot, normal.slot, high.slot) == (slot, None, None)
    pool.give_back(slot, 10.0, 1.0, True)
    assert (normal.slot, high.slot) == (slot, None)
