"""Drift is about 1 while nothing has changed, whatever the dimensions and counts, and grows when it has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcore.routing.drift import LEAST, Drift
from flowcore.routing.settings import DriftSettings

Array = npt.NDArray[np.float32]


def texts(seed: int, count: int, towards: int, dimensions: int = 64) -> Array:
    """Unit vectors around one direction."""
    random = np.random.default_rng(seed)
    centre = np.zeros(dimensions)
    centre[towards] = 1.0
    made = centre + 0.15 * random.standard_normal((count, dimensions))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made.astype(np.float32)


def drift_of(learned: Array, asked: Array, window: int = 200) -> Drift:
    drift = Drift(DriftSettings(window=window))
    for one in learned:
        drift.learned(one)
    for one in asked:
        drift.asked(one)
    return drift


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(60, 400), st.integers(60, 400))
def test_what_is_asked_as_it_was_learned_is_no_drift(seed: int, known: int, asked: int) -> None:
    drift = drift_of(texts(seed, known, 0), texts(seed + 1, asked, 0))
    assert drift.value is not None
    assert 0.3 < drift.value < 2.5
    assert not drift.exceeded


def test_another_topic_is_drift_and_is_none_once_it_was_learned() -> None:
    drift = drift_of(texts(1, 300, 0), texts(2, 300, 5))
    assert drift.exceeded
    drift.relearned()
    assert not drift.exceeded
    for one in texts(3, 300, 5):
        drift.asked(one)
    assert not drift.exceeded


def test_too_little_says_nothing() -> None:
    drift = drift_of(texts(1, LEAST - 1, 0), texts(2, 300, 5))
    assert drift.value is None
    assert not drift.exceeded
    assert drift.status()["value"] is None


def test_only_a_full_window_is_judged() -> None:
    drift = drift_of(texts(1, 300, 0), texts(2, 199, 5))
    assert drift.value is not None
    assert drift.value > 4
    assert not drift.exceeded


def test_a_text_that_says_nothing_counts_for_nothing() -> None:
    drift = drift_of(texts(1, 100, 0), np.zeros((300, 64), np.float32))
    assert drift.status()["queries"] == 0


@pytest.mark.parametrize("count", [1, 500, 5000])
def test_what_is_compared_is_bounded(count: int) -> None:
    drift = drift_of(texts(1, count, 0), texts(2, count, 0), window=100)
    assert drift.status()["queries"] == min(count, 100)
    assert drift.status()["lessons"] == min(count, 1000)
