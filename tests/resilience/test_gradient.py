"""The limit that follows from how long calls take: the published rule, and what it comes to."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.resilience import Gradient, GradientSettings

HOURS = itertools.count(3600.0, 3600.0)


def windows(gradient: Gradient, *means: float, inflight: int = 1000) -> list[float]:
    """Let windows of calls that took these times pass; the limit after each."""
    limits = []
    now = next(HOURS)
    for mean in means:
        for _ in range(gradient.settings.samples - 1):
            gradient.sample(mean, inflight, now)
        now += gradient.settings.window
        gradient.sample(mean, inflight, now)
        limits.append(gradient.limit)
    return limits


@given(
    st.lists(st.floats(0.001, 10.0), min_size=1, max_size=60),
    st.floats(1.0, 4.0),
    st.integers(0, 10),
)
def test_takes_the_steps_of_the_published_rule(
    means: list[float], tolerance: float, queue: int
) -> None:
    """`Gradient2Limit._update` and `ExpAvgMeasurement` of concurrency-limits, written down once more."""
    settings = GradientSettings(tolerance=tolerance, queue=queue, samples=10)
    expected = []
    limit, average, total, count = 20.0, 0.0, 0.0, 0
    for short in means:
        if count < 10:
            count += 1
            total += short
            average = total / count
        else:
            factor = 2.0 / (600 + 1)
            average = average * (1 - factor) + short * factor
        long = average
        if long / short > 2:
            average *= 0.95
        slope = max(0.5, min(1.0, tolerance * long / short))
        limit = limit * 0.8 + (limit * slope + queue) * 0.2
        limit = max(5.0, min(200.0, limit))
        expected.append(limit)
    assert windows(Gradient(settings), *means) == pytest.approx(expected)


def test_grows_by_a_part_of_the_queue_while_times_stay_as_they_are() -> None:
    limits = windows(Gradient(GradientSettings(initial=20, queue=4)), *[0.05] * 3)
    assert limits == pytest.approx([20.8, 21.6, 22.4])


def test_shrinks_when_calls_take_longer_and_recovers_when_they_do_not() -> None:
    gradient = Gradient(GradientSettings(initial=100))
    windows(gradient, *[0.05] * 20)
    high = gradient.limit
    windows(gradient, *[0.5] * 10)
    low = gradient.limit
    assert low < high / 2
    windows(gradient, *[0.05] * 300)
    assert gradient.limit > 1.9 * low


def test_does_not_grow_when_callers_do_not_use_it() -> None:
    gradient = Gradient(GradientSettings(initial=50))
    assert windows(gradient, *[0.05] * 20, inflight=20)[-1] == 50.0
    assert windows(gradient, *[0.05] * 20, inflight=25)[-1] > 50.0


def test_a_step_needs_enough_calls_however_long_they_take_to_come() -> None:
    gradient = Gradient(GradientSettings())
    for hour in range(9):
        gradient.sample(600.0, 20, hour * 3600.0)
    assert gradient.limit == 20.0
    gradient.sample(600.0, 20, 9 * 3600.0)
    assert gradient.limit == pytest.approx(20.8)
    assert gradient.short == 600.0


def test_calls_that_took_no_time_say_nothing() -> None:
    gradient = Gradient(GradientSettings())
    for number in range(1000):
        gradient.sample(1e-5, 20, float(number))
    assert (gradient.limit, gradient.short) == (20.0, 0.0)


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200))
def test_stays_within_its_bounds(means: list[float]) -> None:
    gradient = Gradient(GradientSettings(initial=20, least=10, most=30))
    assert all(10 <= limit <= 30 for limit in windows(gradient, *means))


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="expected least, initial and most in this order"):
        GradientSettings(initial=300)
