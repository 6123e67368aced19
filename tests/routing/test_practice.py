"""In which order a gate that is trained anew goes over its lessons."""

from __future__ import annotations

from collections import Counter

import pytest

from flowcore.routing.practice import practice


@pytest.mark.parametrize("times", [0, 1, 2, 5])
@pytest.mark.parametrize("lessons", [0, 1, 7, 8, 100])
def test_each_lesson_is_new_once_before_it_is_learned_again(lessons: int, times: int) -> None:
    new: Counter[int] = Counter()
    again: Counter[int] = Counter()
    for order, known in practice(lessons, times, 1):
        assert not known or set(order) <= new.keys()
        (again if known else new).update(order)
    assert new == dict.fromkeys(range(lessons), 1)
    assert all(again[row] == (times if row % 8 != 7 else min(times, 1)) for row in range(lessons))


def test_an_eighth_is_new_when_the_others_were_gone_over() -> None:
    orders = [*practice(64, 3, 1)]
    assert [known for _, known in orders] == [False, True, True, False, True]
    assert orders[3][0] == list(range(7, 64, 8))
    assert orders[1][0] != orders[2][0]
    assert sorted(orders[1][0]) == sorted(orders[2][0]) == orders[0][0]


def test_the_order_is_the_same_for_the_same_seed() -> None:
    assert [*practice(50, 2, 3)] == [*practice(50, 2, 3)]
    assert [*practice(50, 2, 3)] != [*practice(50, 2, 4)]
