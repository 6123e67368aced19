"""First lessons count by their mean, and less with each lesson."""

from __future__ import annotations

import numpy as np
import pytest

from flow_gates.moe.exemplars import Exemplars

X = np.array([0.6, 0.8], np.float32)
Y = np.array([0.0, 1.0], np.float32)
C = np.array([1.0, 0.0], np.float32)


def exemplars(fades: float = 10.0, factor: float = 1.0) -> Exemplars:
    made = Exemplars(2, fades, factor)
    made.grow(3)
    return made


def test_it_is_the_mean_of_what_is_said_and_of_lessons_and_fades_with_them() -> None:
    made = exemplars()
    assert made.add(1, X)
    assert made.add(1, Y)
    row, offset = made.part(1, C)
    mean = (C + X + Y) / 3
    factor = 3 * (10 / 12) ** 2
    assert row == pytest.approx(factor * mean)
    assert offset == pytest.approx(-factor * float(mean @ mean) / 2)


def test_who_had_no_lesson_has_none_of_it() -> None:
    made = exemplars()
    made.add(1, X)
    row, offset = made.part(0, C)
    assert (row.tolist(), offset) == ([0.0, 0.0], 0.0)


def test_after_dozens_of_lessons_it_is_over() -> None:
    made = exemplars()
    changed = [made.add(2, X) for _ in range(200)]
    assert changed == [True] * 90 + [False] * 110
    assert made.part(2, C)[1] == 0.0


def test_it_is_forgotten_and_switched_off() -> None:
    made = exemplars()
    made.add(1, X)
    made.forget(1)
    assert made.part(1, C)[1] == 0.0
    assert not exemplars(fades=0.0).add(1, X)
    assert not exemplars(factor=0.0).add(1, X)
