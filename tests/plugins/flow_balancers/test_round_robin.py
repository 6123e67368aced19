from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flow_balancers.round_robin import RoundRobin
from support.balancing import loads, shares


@given(st.integers(1, 20), st.integers(1, 5), st.randoms(use_true_random=False))
def test_everyone_gets_the_same_number_of_calls(count, rounds, chance) -> None:  # type: ignore[no-untyped-def]
    candidates = loads(*range(count))
    chance.shuffle(candidates)
    assert set(shares(RoundRobin(), candidates, count * rounds).values()) == {rounds}


def test_the_circle_goes_on_after_a_worker_that_was_passed_over() -> None:
    balancer = RoundRobin()
    balancer.started(1, 0.0)
    assert balancer.pick(loads(0, 1, 3), None, 0.0) == 2
    balancer.started(3, 0.0)
    assert balancer.pick(loads(2, 1, 3), None, 0.0) == 1


@given(st.lists(st.frozensets(st.integers(0, 5), min_size=1), min_size=1, max_size=60))
def test_nobody_is_taken_twice_while_another_was_free_all_the_time(rounds) -> None:  # type: ignore[no-untyped-def]
    balancer = RoundRobin()
    passed_over: dict[int, set[int]] = {}
    for free in rounds:
        candidates = loads(*free)
        taken = candidates[balancer.pick(candidates, None, 0.0)].worker
        balancer.started(taken, 0.0)
        for other in passed_over:
            passed_over[other] &= free
        assert not passed_over.get(taken), "others waited in the circle since it was taken last"
        for waiting in passed_over.values():
            waiting.discard(taken)
        passed_over[taken] = set(free) - {taken}
