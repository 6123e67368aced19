"""The time of commands goes on evenly, whatever wall clocks do."""

from __future__ import annotations

import pathlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.errors import StateUnavailable
from flowcore.state import AcquireLease, ClockTold, StateClock, Tidy, agreed
from support.keeping import keeping

HOUR = 3600.0


@attrs.define
class Machine:
    """A wall clock that jumps, and the time that really passes."""

    wall: float = 1e9
    passed: float = 50.0

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds

    def clock(self) -> StateClock:
        return StateClock(lambda: self.wall, lambda: self.passed)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_an_hour_is_no_leap(jump: float) -> None:
    machine = Machine()
    clock = machine.clock()
    clock.believe(0.0)
    before = clock()
    machine.wall += jump
    assert clock() == before
    machine.wait(10.0)
    assert clock() - before == pytest.approx(11.0 if jump > 0 else 9.0)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_one_that_was_compared_with_others_is_not_followed_when_it_is_set(jump: float) -> None:
    """Else this node would soon be seconds ahead of the others, and end their leases by them."""
    machine = Machine()
    clock = machine.clock()
    clock.believe(0.0, [1e9], compared=True)
    before = clock()
    machine.wall += jump
    machine.wait(30.0)
    assert clock() - before == pytest.approx(30.0)
    clock.believe(-jump, [clock()], compared=True)
    machine.wait(30.0)
    assert clock() - before == pytest.approx(60.0)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(-1e5, 1e5)), max_size=30))
def test_it_goes_on_evenly_and_comes_to_what_the_wall_clock_says(
    steps: list[tuple[float, float]],
) -> None:
    machine = Machine()
    clock = machine.clock()
    clock.believe(0.0)
    for seconds, jump in steps:
        before = clock()
        machine.wait(seconds)
        machine.wall += jump
        assert 0.9 * seconds - 1e-3 <= clock() - before <= 1.1 * seconds + 1e-3
    machine.wait(10 * abs(machine.wall - clock()) + 1.0)
    assert clock() == pytest.approx(machine.wall, abs=1e-3)


def test_a_state_that_is_drawn_ahead_draws_no_stamps_further_than_they_may_be() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.believe(-5.0, compared=True)
    clock.most_ahead = 1.0
    clock.seen(machine.wall + HOUR)
    assert clock.corrected() == machine.wall - 5.0
    assert clock() == clock.corrected() + 1.0
    machine.wall += HOUR  # it is set: what it was compared with counts
    machine.passed += 3.0
    assert clock.corrected() == machine.wall - HOUR - 5.0 + 3.0
    assert clock() == clock.corrected() + 1.0


def test_what_nobody_was_asked_about_is_the_wall_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.most_ahead = 1.0
    assert clock.corrected() == clock() == machine.wall
    clock.seen(machine.wall + HOUR)
    assert clock.corrected() == machine.wall
    assert clock() == machine.wall + 1.0


def test_where_the_state_is_further_it_goes_on_from_there_and_does_not_stand_still() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.believe(0.0)
    clock.seen(machine.wall + HOUR)
    assert clock() == 1e9 + HOUR
    machine.wait(10.0)
    assert clock() == pytest.approx(1e9 + HOUR + 9.0)
    clock.seen(1e9)  # of before
    assert clock() == pytest.approx(1e9 + HOUR + 9.0)


def test_until_a_wall_clock_is_believed_the_state_says_what_time_it_is() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock() == machine.wall  # of a state that has not begun
    clock.seen(1e9 - 5 * HOUR)
    machine.wait(7.0)
    assert clock() == 1e9 - 5 * HOUR + 7.0
    machine.wall += HOUR
    clock.believe(-HOUR)  # so the others say
    assert clock() == 1e9 + 7.0


def test_who_is_back_goes_on_where_the_others_are() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.seen(1e9 - 5 * HOUR)
    machine.wall += HOUR  # all of them were set: the time of the state comes to it slowly
    clock.believe(0.0, [1e9 + 5.0, 1e9 + 4.0, 1e9 + 3 * HOUR])
    assert clock() == 1e9 + 5.0


def test_who_was_alone_goes_on_where_the_others_are_and_not_where_it_came_to_alone() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.seen(1e9 - 5 * HOUR)
    machine.wait(HOUR)
    assert clock() == 1e9 - 4 * HOUR
    clock.believe(0.0, [1e9 - 5 * HOUR + 7.0])
    assert clock() == 1e9 - 5 * HOUR + 7.0
    clock = machine.clock()
    clock.seen(1e9)
    clock.believe(0.0, [1e9 - 3.0])  # it is behind: the state is further than that
    assert clock() == 1e9


def test_all_who_begin_together_go_on_from_one_time() -> None:
    """Of two that hear each other alone, one has more of the state, and one is 45 minutes behind."""
    late, right = Machine(wall=1e9 - 2700.0), Machine(wall=1e9)
    clocks = [late.clock(), right.clock()]
    clocks[0].seen(1e9 - 60.0)
    clocks[1].seen(1e9 - 54.0)
    told = [clock.tell() for clock in clocks]
    assert told[0] == ClockTold(1e9 - 2700.0, None, 1e9 - 60.0)
    assert not clocks[0].hear(told[1:], voters=3)  # the third may know which is right
    assert clocks[0].hear(told[1:], voters=3, patient=False)
    assert clocks[1].hear(told[:1], voters=3, patient=False)
    assert [clock() for clock in clocks] == [1e9 - 54.0, 1e9 - 54.0]
    assert clocks[0].tell() == ClockTold(1e9 - 2700.0, 1e9 - 54.0)
    third = right.clock()
    assert third.hear([clock.tell() for clock in clocks], voters=3)
    assert third() == 1e9 - 54.0


@pytest.mark.parametrize(
    ("others", "voters", "enough"),
    [
        ([], 1, True),
        ([], 2, False),
        ([ClockTold(1e9, None)], 3, True),
        ([ClockTold(1e9 + 0.9, None)], 3, True),
        ([ClockTold(1e9 + 1.1, None)], 3, False),  # which of the two is right?
        ([ClockTold(1e9 - 1.1, None)], 3, False),
        ([ClockTold(1e9 - 1.1, None)], 2, True),  # there is nobody else to say
        ([ClockTold(1e9 + 1.1, 1e9)], 3, True),  # somebody knew before
        ([ClockTold(1e9, None)], 4, False),
        ([ClockTold(1e9 - 0.6, None), ClockTold(1e9 + 0.6, None)], 5, False),
        ([ClockTold(1e9 - 0.6, None), ClockTold(1e9 + 0.6, None)], 3, True),
    ],
)
def test_what_is_heard_at_first_has_to_be_enough(
    others: list[ClockTold], voters: int, enough: bool
) -> None:
    clock = Machine().clock()
    assert clock.hear(others, voters) is enough
    assert clock.settled.is_set() is enough
    clock = Machine().clock()
    assert clock.hear(others, voters, patient=False) is (2 * (1 + len(others)) > voters)
    assert clock.tell().reckoned is None


def test_of_clocks_most_are_right() -> None:
    assert agreed([]) == 0
    assert agreed([-HOUR, -HOUR]) == -HOUR  # ours is an hour ahead
    assert agreed([HOUR, HOUR]) == HOUR
    assert agreed([HOUR, 0.5]) == 0.5  # one of the others is
    assert agreed([-HOUR]) == -HOUR  # of two the one that is behind
    assert agreed([HOUR]) == 0


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_leases_end_when_their_time_is_over_though_the_clock_jumps(
    tmp_path: pathlib.Path, jump: float
) -> None:
    machine = Machine()
    clock = machine.clock()
    clock.believe(0.0)
    async with keeping(tmp_path, clock=clock) as kept:
        held = await kept.state.do(AcquireLease(name="l", holder="one", seconds=30.0))
        machine.wall += jump
        machine.wait(20.0)
        asked = await kept.state.do(AcquireLease(name="l", holder="two", seconds=30.0))
        assert (asked.held, asked.holder, asked.fence) == (False, "one", held.fence)
        assert [one.holder for one in await kept.state.leases()] == ["one"]
        machine.wait(15.0)
        assert await kept.state.leases() == []
        asked = await kept.state.do(AcquireLease(name="l", holder="two", seconds=30.0))
        assert asked.held
    async with keeping(tmp_path, clock=machine.clock()) as kept:  # whose worth nobody has told yet
        assert [one.holder for one in await kept.state.leases()] == ["two"]
        assert not kept.state.status()["time_known"]
        with pytest.raises(StateUnavailable, match="what time it is"):
            await kept.state.do(Tidy())
    clock = machine.clock()
    async with keeping(tmp_path, clock=clock) as kept:
        clock.believe(0.0, [kept.state.now()])
        assert kept.state.status()["time_known"]
        await kept.state.do(Tidy())
        assert kept.state.now() < 1e9 + 100
