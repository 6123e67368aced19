"""Token buckets: never more than they say, never less, whatever the clock and strangers do."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.resilience import Bucket, Buckets, Rate

EIGHTH = 0.125


def spend(buckets: Buckets, key: str, cost: float, now: float) -> bool:
    if buckets.wait(key, cost, now) > 0.0:
        return False
    buckets.take(key, cost, now)
    return True


class Tokens:
    """A bucket as one would draw it: a level that rises with time. Exact."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self.level = Fraction(burst)
        self.at = Fraction(0)

    def spend(self, cost: int, now: Fraction) -> bool:
        self.level = min(Fraction(self.burst), self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < cost:
            return False
        self.level -= cost
        return True


@given(
    rate=st.integers(1, 20),
    burst=st.integers(1, 30),
    start=st.integers(0, 10**7),
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=80),
)
def test_is_the_token_bucket_of_the_textbook(
    rate: int, burst: int, start: int, steps: list[tuple[int, int]]
) -> None:
    buckets, one = Buckets(Rate(rate=rate, burst=burst)), Bucket(Rate(rate=rate, burst=burst))
    model = Tokens(rate, burst)
    eighths = start
    for passed, cost in steps:
        eighths += passed
        now = eighths * EIGHTH
        allowed = model.spend(cost, Fraction(eighths, 8))
        assert spend(buckets, "k", cost, now) is allowed
        assert (one.wait(cost, now) == 0.0) is allowed
        if allowed:
            one.take(cost, now)
        assert one.tokens(now) == pytest.approx(float(model.level), abs=0.01)


@given(
    rate=st.floats(0.01, 5000),
    burst=st.integers(1, 2000),
    costs=st.lists(st.integers(1, 10), min_size=1, max_size=100),
)
def test_whoever_waits_as_told_gets_through_and_not_before(
    rate: float, burst: int, costs: list[int]
) -> None:
    buckets = Buckets(Rate(rate=rate, burst=burst))
    now = 1e5
    for cost in costs:
        cost = min(cost, burst)
        wait = buckets.wait("k", cost, now)
        if wait > 0.0:
            assert buckets.wait("k", cost, now + wait * 0.99 - 0.01 / rate) > 0.0
            now += wait * (1 + 1e-9) + 1e-9
        assert spend(buckets, "k", cost, now)


def test_an_attacker_gets_the_limit_and_the_others_what_they_ask_for() -> None:
    """Ten times the limit for ten seconds, at random times; ten others at half of it."""
    chance = random.Random(4)
    rate = Rate(rate=100.0, burst=100)
    buckets = Buckets(rate)
    seconds = 10.0
    times = [(chance.uniform(0, seconds), "attacker") for _ in range(int(10 * 100 * seconds))]
    for other in range(10):
        times += [(number / 50, f"other {other}") for number in range(int(50 * seconds))]
    allowed: dict[str, int] = {}
    for now, who in sorted(times):
        if spend(buckets, who, 1.0, now):
            allowed[who] = allowed.get(who, 0) + 1
    assert 0.99 * rate.rate * seconds <= allowed["attacker"]
    assert allowed["attacker"] <= rate.rate * seconds + rate.at_once
    assert all(allowed[f"other {other}"] == 50 * seconds for other in range(10))


@given(
    most=st.integers(1, 4),
    rate=st.integers(1, 3),
    burst=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 7)), max_size=120),
)
def test_nobody_gains_by_being_forgotten(
    most: int, rate: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    """However many keys there are and whatever is forgotten for them: each gets at most its own tokens."""
    buckets = Buckets(Rate(rate=rate, burst=burst), most)
    models: dict[str, Tokens] = {}
    eighths = 0
    for passed, who in steps:
        eighths += passed
        key = str(who)
        model = models.setdefault(key, Tokens(rate, burst))
        before = (model.level, model.at)
        could = model.spend(1, Fraction(eighths, 8))
        did = spend(buckets, key, 1.0, eighths * EIGHTH)
        assert could or not did, "more than the key's own tokens"
        if could and not did:
            assert len(buckets) == most
            assert not buckets.knows(key), "only who is new may be refused for want of room"
            model.level, model.at = before
        assert len(buckets) <= most


def test_a_full_memory_refuses_the_new_and_says_until_when() -> None:
    buckets = Buckets(Rate(rate=1.0, burst=2), most=2)
    for key in ("a", "b"):
        assert spend(buckets, key, 1.0, 0.0)
    assert buckets.wait("c", 1.0, 0.5) == 0.5
    assert not buckets.knows("c")
    assert spend(buckets, "c", 1.0, 1.0)
    assert len(buckets) <= 2


def test_a_clock_that_jumps_ahead_gives_one_burst_and_no_more() -> None:
    buckets = Buckets(Rate(rate=10.0, burst=5))
    while spend(buckets, "k", 1.0, 100.0):
        pass
    assert sum(spend(buckets, "k", 1.0, 3700.0) for _ in range(100)) == 5


def test_a_clock_that_jumps_back_blocks_for_no_longer_than_a_bucket_takes_to_fill() -> None:
    buckets, one = Buckets(Rate(rate=10.0, burst=5)), Bucket(Rate(rate=10.0, burst=5))
    assert spend(buckets, "k", 1.0, 7200.0)
    one.take(1.0, 7200.0)
    for wait in (buckets.wait("k", 1.0, 3600.0), one.wait(1.0, 3600.0)):
        assert wait == pytest.approx(0.1, rel=0.01)
    assert sum(spend(buckets, "k", 1.0, 3600.5) for _ in range(100)) == 5
    assert one.tokens(3600.5) == pytest.approx(5.0, abs=0.01)


def test_a_cost_of_more_than_the_burst_is_never_there() -> None:
    buckets = Buckets(Rate(rate=10.0, burst=5))
    assert buckets.wait("k", 6.0, 1e9) > 0.0
    assert Bucket(Rate(rate=10.0, burst=5)).wait(6.0, 1e9) > 0.0


def test_slow_rates_are_exact_too() -> None:
    buckets = Buckets(Rate(rate=1 / 60, burst=1))
    assert spend(buckets, "k", 1.0, 0.0)
    assert not spend(buckets, "k", 1.0, 59.0)
    assert spend(buckets, "k", 1.0, 60.0)
