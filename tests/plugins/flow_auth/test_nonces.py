"""Nonces: each is good once, whatever the clock does."""

from __future__ import annotations

import random

from flowcore.signing import Nonces


def test_a_nonce_is_good_once_and_for_each_key_by_itself() -> None:
    nonces = Nonces(60.0, 10)
    assert nonces.use("k1", "n", 100.0, 100.0)
    assert not nonces.use("k1", "n", 100.0, 159.0)
    assert nonces.use("k2", "n", 100.0, 100.0)


def test_what_is_remembered_has_a_bound_and_an_end() -> None:
    nonces = Nonces(60.0, 2)
    assert nonces.use("k", "a", 0.0, 0.0)
    assert nonces.use("k", "b", 1.0, 1.0)
    assert nonces.full(119.0)
    assert not nonces.full(120.0)
    assert len(nonces) == 1


def test_a_clock_that_jumps_ahead_and_back_lets_nothing_in_twice() -> None:
    nonces = Nonces(60.0, 100)
    assert nonces.use("k", "before", 1000.0, 1000.0)
    assert nonces.use("k", "meanwhile", 4600.0, 4600.0)
    assert len(nonces) == 1  # the first one was forgotten
    assert not nonces.use("k", "before", 1000.0, 1010.0)
    assert nonces.use("k", "after", 1010.0, 1010.0)
    assert not nonces.use("k", "meanwhile", 4600.0, 4600.0)


def test_nothing_comes_twice_and_nobody_in_the_window_is_taken_for_old() -> None:
    """Random requests under a clock that only goes on: what is forgotten is out of every window."""
    chance = random.Random(5)
    nonces, now, made = Nonces(60.0, 10**6), 0.0, list[tuple[str, float]]()
    for number in range(20_000):
        now += chance.expovariate(2.0)
        created = now + chance.uniform(-60, 60)
        made.append((f"{number}", created))
        assert nonces.use("k", f"{number}", created, now)
        again, then = chance.choice(made[-500:])
        if abs(now - then) <= 60.0:
            assert not nonces.use("k", again, then, now)
