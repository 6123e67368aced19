"""Breakers of alternatives: never are all of them out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowcore.resilience import BreakerSet, BreakerSettings, BreakerState, Verdict

QUICK = BreakerSettings(calls=2, probes=1, open=10.0)


def fail(breakers: BreakerSet, name: str, now: float, times: int = 2) -> None:
    for _ in range(times):
        ticket = breakers[name].ask(now)
        if ticket is not None:
            breakers[name].tell(ticket, Verdict.FAILURE, 0.1, now)


def outside(breakers: BreakerSet) -> set[str]:
    inside = (BreakerState.CLOSED, BreakerState.FORCED_CLOSED)
    return {name for name in breakers if breakers[name].state not in inside}


def test_only_a_share_of_them_is_out() -> None:
    breakers = BreakerSet(QUICK, ejected=0.5)
    for name in "abcde":
        breakers.add(name, 0.0)
    for name in "abcde":
        fail(breakers, name, 0.0)
    assert outside(breakers) == {"a", "b"}
    assert breakers["e"].spared == 1
    assert breakers["e"].ask(0.0) is not None


def test_a_set_of_one_opens_as_any_breaker() -> None:
    breakers = BreakerSet(QUICK)
    breakers.add("only", 0.0)
    fail(breakers, "only", 0.0)
    assert breakers["only"].state is BreakerState.OPEN


def test_of_two_one_stays_whatever_the_share() -> None:
    for share in (0.01, 0.5, 1.0):
        breakers = BreakerSet(QUICK, ejected=share)
        breakers.add("a", 0.0)
        breakers.add("b", 0.0)
        fail(breakers, "a", 0.0)
        fail(breakers, "b", 0.0)
        assert outside(breakers) == {"a"}


def test_who_is_out_for_longest_comes_back_when_too_few_are_left() -> None:
    breakers = BreakerSet(QUICK, ejected=0.5)
    for name in "abcd":
        breakers.add(name, 0.0)
    fail(breakers, "a", 1.0)
    fail(breakers, "b", 2.0)
    breakers.remove("c", 3.0)
    assert outside(breakers) == {"b"}
    assert breakers["a"].reason == "too many of its set are out"
    assert "c" not in breakers
    assert len(breakers) == 3


def test_an_operator_may_open_them_all() -> None:
    changes: list[tuple[str, str]] = []
    breakers = BreakerSet(
        QUICK, changed=lambda name, old, new, why: changes.append((name, new.value))
    )
    for name in "ab":
        breakers.add(name, 0.0).force_open(0.0)
    assert outside(breakers) == {"a", "b"}
    assert changes == [("a", "forced open"), ("b", "forced open")]
    assert breakers.add("a", 9.0) is breakers["a"]


@given(
    share=st.sampled_from([0.1, 0.5, 1.0]),
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "remove", "fail", "succeed", "wait"]), st.integers(0, 5)),
        max_size=80,
    ),
)
def test_one_is_always_in_whatever_happens(share: float, steps: list[tuple[str, int]]) -> None:
    breakers = BreakerSet(QUICK, ejected=share)
    now = 0.0
    for what, number in steps:
        name = str(number)
        if what == "add":
            breakers.add(name, now)
        elif what == "wait":
            now += number * 3.0
        elif name in breakers:
            if what == "remove":
                breakers.remove(name, now)
            elif what == "fail":
                fail(breakers, name, now, times=3)
            else:
                ticket = breakers[name].ask(now)
                if ticket is not None:
                    breakers[name].tell(ticket, Verdict.SUCCESS, 0.1, now)
        if len(breakers) > 1:
            assert breakers.out < len(breakers)
            assert breakers.out <= max(1, share * len(breakers))
