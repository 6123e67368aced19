from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flow_balancers.least_connections import LeastConnections
from support.balancing import loads


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_takes_one_with_the_fewest_calls_and_of_those_the_last(active: list[int]) -> None:
    index = LeastConnections().pick(loads(*range(len(active)), active=active), None, 0.0)
    assert active[index] == min(active)
    assert min(active) not in active[index + 1 :]


def test_idle_workers_are_left_to_become_idle_for_long() -> None:
    balancer = LeastConnections()
    free = loads(0, 1, 2)
    for _ in range(5):
        worker = free.pop(balancer.pick(free, None, 0.0))
        assert worker.worker == 2
        free.append(worker)
