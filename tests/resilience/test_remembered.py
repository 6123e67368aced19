"""The bounded memory under the limits: it forgets what may be forgotten, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowcore.resilience import Key, Remembered

STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=60
)
"""(seconds that pass, whose key, how much longer it must be kept)."""


@given(STEPS, st.integers(1, 4))
def test_only_keys_whose_time_is_over_are_forgotten(
    steps: list[tuple[int, int, int]], most: int
) -> None:
    forgotten: list[Key] = []
    memory = Remembered(most, forgotten.append)
    needed: dict[Key, float] = {}
    now = 0.0
    for passed, who, longer in steps:
        now += passed
        key = str(who)
        if key in memory.until:
            memory.until[key] = max(memory.until[key], now) + longer
        else:
            wait = memory.room(now)
            if wait > 0.0:
                assert len(memory) == most
                assert min(memory.until.values()) >= now + wait, "a hint is never too late"
                continue
            memory.add(key, now + longer)
        needed[key] = memory.until[key]
        assert len(memory) <= most
        for gone in forgotten:
            assert needed[gone] <= now
        forgotten.clear()


@given(STEPS, st.integers(1, 4))
def test_there_is_room_whenever_some_keys_time_is_over(
    steps: list[tuple[int, int, int]], most: int
) -> None:
    memory = Remembered(most)
    now = 0.0
    for passed, who, longer in steps:
        now += passed
        key = str(who)
        if key in memory.until:
            memory.until[key] = max(memory.until[key], now) + longer
            continue
        could = len(memory) < most or min(memory.until.values()) <= now
        assert (memory.room(now) == 0.0) is could
        if could:
            memory.add(key, now + longer)


@given(STEPS, st.integers(1, 4))
def test_what_is_forgotten_for_room_is_what_would_be_forgotten_first(
    steps: list[tuple[int, int, int]], most: int
) -> None:
    memory = Remembered(most)
    now = 0.0
    for passed, who, longer in steps:
        now += passed
        key = str(who)
        if key in memory.until:
            memory.until[key] = max(memory.until[key], now) + longer
            continue
        if memory.room(now) > 0.0:
            before = dict(memory.until)
            memory.forget_soonest()
            (gone,) = before.keys() - memory.until.keys()
            assert before[gone] == min(before.values())
        memory.add(key, now + longer)


def test_keys_that_come_once_do_not_pile_up() -> None:
    memory = Remembered(1_000_000)
    for number in range(10_000):
        assert memory.room(float(number)) == 0.0
        memory.add(str(number), number + 2.5)
    assert len(memory) < 10
