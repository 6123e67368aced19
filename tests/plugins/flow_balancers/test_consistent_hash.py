from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_balancers.consistent_hash import ConsistentHash, ConsistentHashConfig
from flowcore.interfaces import Load
from support.balancing import loads

KEYS = [b"user-%d" % number for number in range(1000)]


def owners(ring: ConsistentHash, candidates: list[Load]) -> dict[bytes, int]:
    return {key: candidates[ring.pick(candidates, key, 0.0)].worker for key in KEYS}


def ring(**config: float) -> ConsistentHash:
    return ConsistentHash(ConsistentHashConfig(**config))  # type: ignore[arg-type]


@given(st.permutations(range(8)))
def test_one_affinity_meets_one_worker_whatever_the_order_of_candidates(order: list[int]) -> None:
    mine = ring()
    assert owners(mine, loads(*order)) == owners(mine, loads(*range(8)))


@pytest.mark.parametrize("count", [2, 5, 10])
def test_only_what_belonged_to_a_worker_that_went_moves(count: int) -> None:
    mine = ring()
    before = owners(mine, loads(*range(count)))
    mine.removed(0)
    after = owners(mine, loads(*range(1, count)))
    assert all(after[key] == owner for key, owner in before.items() if owner != 0)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_only_what_a_newcomer_takes_moves_and_that_is_about_its_part(count: int) -> None:
    mine = ring()
    before = owners(mine, loads(*range(count)))
    after = owners(mine, loads(*range(count + 1)))
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(after[key] == count for key in moved)
    assert len(moved) <= 2 * len(KEYS) / (count + 1)


def test_the_ring_is_cut_about_evenly() -> None:
    parts = list(owners(ring(points=256), loads(*range(10))).values())
    assert all(50 <= parts.count(worker) <= 180 for worker in range(10))


def test_a_worker_that_cannot_take_it_passes_it_on_and_gets_it_back() -> None:
    mine = ring()
    everyone = loads(*range(5))
    owner = mine.pick(everyone, b"key", 0.0)
    without = [load for load in everyone if load.worker != owner]
    other = without[mine.pick(without, b"key", 0.0)].worker
    assert other != owner
    assert mine.pick(everyone, b"key", 0.0) == owner


@given(st.integers(1, 8), st.integers(1, 200))
def test_one_popular_affinity_never_drowns_its_worker(count: int, calls: int) -> None:
    mine = ring(balance=1.25)
    workers = loads(*range(count))
    for _ in range(calls):
        workers[mine.pick(workers, b"everyone", 0.0)].active += 1
    most = max(load.active for load in workers)
    assert most <= 1.25 * calls / count + 1


def test_without_affinity_the_fewest_calls_decide() -> None:
    assert ring().pick(loads(0, 1, 2, active=[2, 0, 1]), None, 0.0) == 1
