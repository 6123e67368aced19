from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_balancers.weighted import Weighted
from flowcore import ConfigError, open_flow
from flowcore.interfaces import Load
from support.balancing import shares


def workers(*weights: float) -> list[Load]:
    return [Load(number, weight=weight) for number, weight in enumerate(weights)]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10), st.integers(1, 3))
def test_over_full_turns_everyone_is_taken_as_often_as_its_weight(weights, turns) -> None:  # type: ignore[no-untyped-def]
    taken = shares(Weighted(), workers(*weights), sum(weights) * turns)
    assert list(taken.values()) == [weight * turns for weight in weights]


def test_a_heavy_worker_is_not_taken_in_bursts() -> None:
    balancer = Weighted()
    candidates = workers(5, 1, 1)
    picks = "".join("abc"[balancer.pick(candidates, None, 0.0)] for _ in range(7))
    assert picks == "aabacaa"


@given(st.lists(st.frozensets(st.integers(0, 4), min_size=1), max_size=300))
def test_credit_stays_bounded_and_adds_up_to_nothing(rounds: list[frozenset[int]]) -> None:
    balancer = Weighted()
    everyone = workers(5, 3, 2, 1, 1)
    for free in rounds:
        balancer.pick([everyone[number] for number in sorted(free)], None, 0.0)
    credit = balancer._credit.values()
    assert sum(credit) == 0
    assert all(abs(one) <= 12 * 5 for one in credit)


def test_weights_are_of_places_which_replacements_take_over() -> None:
    balancer = Weighted((4, 2))
    assert shares(balancer, [Load(7), Load(9), Load(8)], 70) == {7: 40, 9: 20, 8: 10}
    balancer.removed(7)
    assert shares(balancer, [Load(9), Load(8), Load(10)], 70) == {9: 20, 8: 10, 10: 40}


def test_one_that_was_alone_has_its_place_from_its_first_call() -> None:
    balancer = Weighted((1, 3))
    balancer.started(5, 0.0)
    assert shares(balancer, [Load(6), Load(5)], 40) == {6: 30, 5: 10}


def test_a_place_beyond_the_weights_has_the_weight_of_its_worker() -> None:
    balancer = Weighted((6,))
    assert shares(balancer, workers(99, 3, 1), 100) == {0: 60, 1: 30, 2: 10}


@pytest.mark.parametrize("weights", [[0], [-1], [1, "2"], 3, [math.nan], [math.inf]])
async def test_a_weight_is_a_number_above_nothing(weights: object) -> None:
    balancer = {"type": "weighted", "weights": weights}
    with pytest.raises(ConfigError, match="agent.a.balancer.weights"):
        async with open_flow(
            {"agent": {"a": {"type": "python", "target": "a:b"} | {"balancer": balancer}}}
        ):
            raise AssertionError("it opened")


def test_a_newcomer_is_on_a_par_with_those_who_stayed() -> None:
    balancer = Weighted()
    for generation in range(2, 200):
        pair = [Load(0), Load(generation)]
        while pair[balancer.pick(pair, None, 0.0)].worker == 0:
            pass
        balancer.removed(generation)
    taken = shares(balancer, [Load(0), Load(1)], 100)
    assert abs(taken[0] - taken[1]) <= 4
