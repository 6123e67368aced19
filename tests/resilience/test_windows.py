"""Windows of calls against a list of all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowcore.resilience.windows import Counts, CountWindow, TimeWindow

CALLS = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), max_size=100)
"""(tenths of a window that pass before it, failed, slow)."""


def counted(calls: list[tuple[int, bool, bool]]) -> Counts:
    return Counts(len(calls), sum(one[1] for one in calls), sum(one[2] for one in calls))


@given(CALLS)
def test_a_time_window_holds_the_last_ten_parts(calls: list[tuple[int, bool, bool]]) -> None:
    window = TimeWindow(64.0)
    part, seen = 0, []
    for passed, failed, slow in calls:
        part += passed
        now = (part + 0.5) * 6.4
        window.add(now, failed, slow)
        seen.append((part, failed, slow))
        assert window.look(now) == counted([one for one in seen if one[0] > part - 10])
    assert window.look((part + 10.5) * 6.4) == Counts(0, 0, 0)


@given(CALLS, st.integers(1, 20))
def test_a_window_of_calls_holds_the_last_ones(
    calls: list[tuple[int, bool, bool]], most: int
) -> None:
    window = CountWindow(most)
    for number, (passed, failed, slow) in enumerate(calls):
        window.add(float(passed), failed, slow)
        assert window.look(0.0) == counted(calls[max(0, number + 1 - most) : number + 1])


def test_a_clock_that_goes_back_adds_to_the_newest_part() -> None:
    window = TimeWindow(60.0)
    window.add(7200.0, True, False)
    window.add(3600.0, True, False)
    assert window.look(3600.0) == Counts(2, 2, 0)
    assert window.look(7230.0) == Counts(2, 2, 0)
    assert window.look(7266.0) == Counts(0, 0, 0)
