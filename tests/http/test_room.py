"""Who may come in, and who goes for it."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from flowcore.http.room import Mark, Room


@attrs.define(eq=False)
class Somebody:
    client: str = "10.0.0.1"
    mark: Mark | None = (0, 0.0)
    gone: bool = False
    stays: bool = False

    def dispensable(self) -> Mark | None:
        return self.mark

    def evict(self) -> bool:
        assert self.mark is not None
        self.gone = not self.stays
        return self.gone


def test_the_one_missed_least_goes_and_who_is_answered_stays() -> None:
    room = Room(4, 4)
    slow, slower = Somebody(mark=(0, 2.0)), Somebody(mark=(0, 1.0))
    idle, busy = Somebody(mark=(1, 0.0)), Somebody(mark=None)
    assert all(room.admit(one) for one in (busy, idle, slow, slower))
    for expected in (slower, slow, idle):
        assert room.admit(Somebody(mark=None))
        assert expected.gone
    assert not room.admit(Somebody())
    assert (len(room), room.evicted) == (4, 3)


def test_one_address_displaces_only_its_own() -> None:
    room = Room(100, 2)
    other = Somebody("10.0.0.2", mark=(0, -1.0))
    mine = [Somebody(mark=(0, float(number))) for number in range(3)]
    assert all(room.admit(one) for one in (other, *mine))
    assert [one.gone for one in (other, *mine)] == [False, True, False, False]
    for one in mine:
        one.mark = None
    assert not room.admit(Somebody())
    assert room.admit(Somebody("10.0.0.2"))


def test_an_address_of_ipv6_stands_for_its_network() -> None:
    room = Room(100, 1)
    assert room.admit(Somebody("2001:db8:0:1::1", mark=None))
    assert not room.admit(Somebody("2001:db8:0:1:ffff::2", mark=None))
    assert room.admit(Somebody("2001:db8:0:2::1", mark=None))
    assert room.admit(Somebody("fe80::1%eth0", mark=None))
    assert room.admit(Somebody("::ffff:10.0.0.1", mark=None))
    assert not room.admit(Somebody("10.0.0.1", mark=None))


def test_who_was_chosen_but_is_busy_by_now_stays() -> None:
    room = Room(3, 3)
    three = [Somebody(mark=(0, float(number))) for number in range(3)]
    assert all(room.admit(one) for one in three)
    assert room.admit(Somebody(mark=None))  # and the other two are next
    three[1].mark = None
    assert room.admit(Somebody(mark=None))
    assert [one.gone for one in three] == [True, False, True]


def test_who_has_just_said_something_stays() -> None:
    room = Room(2, 2)
    talking, silent = Somebody(mark=(0, 0.0), stays=True), Somebody(mark=(0, 1.0))
    assert room.admit(talking)
    assert room.admit(silent)
    assert room.admit(Somebody(mark=None))
    assert (talking.gone, silent.gone) == (False, True)
    assert not room.admit(Somebody())


marks = st.none() | st.tuples(st.integers(0, 2), st.floats(0, 9))
steps = st.lists(st.tuples(st.sampled_from("abc"), marks, st.integers(0, 9), marks), max_size=60)


@given(steps, st.integers(1, 6), st.integers(1, 6))
def test_whoever_comes_and_goes_the_caps_hold(
    steps: list[tuple[str, Mark | None, int, Mark | None]], most: int, each: int
) -> None:
    room = Room(most, each)
    here: list[Somebody] = []
    for client, mark, which, changed in steps:
        guest = Somebody(client, mark)
        owners = [one for one in here if one.client == client]
        crowd = owners if len(owners) >= each else here
        full = len(owners) >= each or len(here) >= most
        possible = not full or any(one.mark is not None for one in crowd)
        assert room.admit(guest) is possible
        here = [one for one in (*here, guest) if not one.gone and (one is not guest or possible)]
        assert len(room) == len(here) <= most
        assert all(sum(one.client == name for one in here) <= each for name in "abc")
        if here:
            touched = here[which % len(here)]
            touched.mark = changed
            if which > 6:
                room.leave(touched)
                here.remove(touched)
        assert len(room) == len(here)
