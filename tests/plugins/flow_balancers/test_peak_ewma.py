from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_balancers.least_connections import LeastConnections
from flow_balancers.peak_ewma import PeakEwma, PeakEwmaConfig
from flow_balancers.round_robin import RoundRobin
from flowcore.interfaces import Load
from support.balancing import loads, percentile, shares, simulate


def balancer(seed: int = 1, **config: float) -> PeakEwma:
    return PeakEwma(PeakEwmaConfig(**config), random.Random(seed))


def test_a_slower_call_counts_at_once_and_a_faster_one_little_by_little() -> None:
    judge = balancer()
    judge.finished(0, 0.0, 0.1, True)
    judge.finished(0, 0.0, 1.0, True)
    assert judge.cost(Load(0), 0.0) == 1.0
    judge.finished(0, 1.0, 0.1, True)
    kept = math.exp(-0.1)
    assert judge.cost(Load(0), 1.0) == pytest.approx(kept + 0.1 * (1 - kept))


def test_cost_grows_with_the_calls_under_way_and_sinks_in_silence() -> None:
    judge = balancer(decay=10.0)
    judge.finished(0, 0.0, 0.2, True)
    assert judge.cost(Load(0, active=4), 0.0) == pytest.approx(1.0)
    assert judge.cost(Load(0), 10.0) == pytest.approx(0.2 / math.e)


def test_a_worker_that_has_finished_nothing_is_taken_for_a_usual_one() -> None:
    judge = balancer()
    assert judge.cost(Load(0, active=3), 0.0) == 0.0
    judge.finished(1, 0.0, 0.3, True)
    assert judge.cost(Load(0, active=1), 0.0) == pytest.approx(0.6)


def test_failing_fast_attracts_nothing() -> None:
    judge = balancer()
    for turn in range(20):
        judge.finished(0, turn / 10, 0.1, True)
        judge.finished(1, turn / 10, 0.001, False)
    assert judge.cost(Load(1), 2.0) > 5 * judge.cost(Load(0), 2.0)
    taken = shares(judge, [Load(0), Load(1)], 100)
    assert taken == {0: 100, 1: 0}


def test_of_two_that_cost_the_same_the_one_with_fewer_calls_is_taken() -> None:
    judge = balancer()
    candidates = loads(0, 1, active=[3, 0])
    assert {judge.pick(candidates, None, 0.0) for _ in range(20)} == {1}


@given(st.integers(2, 12), st.integers(0, 2**32))
def test_the_worst_of_all_is_never_taken_and_chance_reaches_all_others(
    count: int, seed: int
) -> None:
    judge = balancer(seed)
    for number in range(count):
        judge.finished(number, 0.0, 1.0 if number == 0 else 0.1, True)
    candidates = loads(*range(count))
    taken = {judge.pick(candidates, None, 0.0) for _ in range(400)}
    assert taken == set(range(1, count))


@pytest.mark.parametrize("seed", range(3))
def test_one_of_ten_ten_times_slower_gets_little_and_nobody_waits_for_it(seed: int) -> None:
    """The load of facts section 5: 70 % of what ten equal workers could do."""
    means = [0.1] + [0.01] * 9
    outcome = simulate(
        balancer(seed), means, rate=700.0, calls=40_000, chance=random.Random(seed + 100)
    )
    best = min(percentile(outcome.seconds[worker], 0.99) for worker in range(1, 10))
    assert outcome.share(0) <= 0.03
    assert percentile(outcome.all, 0.99) <= 10 * best


def test_round_robin_shows_what_it_is_good_for() -> None:
    means = [0.1] + [0.01] * 9
    load = {"rate": 700.0, "calls": 10_000}
    turns = simulate(RoundRobin(), means, **load, chance=random.Random(1))  # type: ignore[arg-type]
    fewest = simulate(LeastConnections(), means, **load, chance=random.Random(1))  # type: ignore[arg-type]
    peak = simulate(balancer(), means, **load, chance=random.Random(1))  # type: ignore[arg-type]
    assert turns.share(0) == pytest.approx(0.1)
    assert percentile(turns.all, 0.99) > 20 * percentile(peak.all, 0.99)
    assert peak.share(0) < fewest.share(0)
