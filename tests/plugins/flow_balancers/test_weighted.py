from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flow_balancers.weighted import Weighted
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


def test_a_newcomer_is_on_a_par_with_those_who_stayed() -> None:
    balancer = Weighted()
    for generation in range(2, 200):
        pair = [Load(0), Load(generation)]
        while pair[balancer.pick(pair, None, 0.0)].worker == 0:
            pass
        balancer.removed(generation)
    taken = shares(balancer, [Load(0), Load(1)], 100)
    assert abs(taken[0] - taken[1]) <= 4
