"""What waits to be written: in order, with its bytes counted, and refused beyond its bounds."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_consensus.waiting import Proposal, Waiting
from flowcore.errors import InvalidArguments, Overloaded, StateUnavailable, TooLarge


@attrs.frozen
class Room:
    queue: int = 3
    queue_bytes: int = 100


def proposal(data: bytes) -> Proposal:
    return Proposal(data, since=0.0)


def waiting(**room: int) -> Waiting[Proposal]:
    return Waiting(Room(**room), "to be written", largest=150)


def test_more_than_there_is_room_for_is_refused_and_counted() -> None:
    queue = waiting()
    queue.put(proposal(b"x" * 150))  # the first one always finds room
    with pytest.raises(Overloaded, match="1 commands, 150 bytes, wait to be written already"):
        queue.put(proposal(b"y"))
    queue.pop()
    for _ in range(3):
        queue.put(proposal(b"y"))
    with pytest.raises(Overloaded, match="3 commands"):
        queue.put(proposal(b"y"))
    assert (len(queue), queue.refused) == (3, 2)


@pytest.mark.parametrize(
    ("data", "error", "why"),
    [(b"", InvalidArguments, "empty"), (b"x" * 151, TooLarge, "151 bytes, more than 150")],
)
def test_what_can_never_be_written_is_refused(
    data: bytes, error: type[Exception], why: str
) -> None:
    queue = waiting()
    with pytest.raises(error, match=why):
        queue.put(proposal(data))
    assert not queue
    assert queue.refused == 0  # for want of room


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.integers(1, 9), st.data())
def test_what_is_taken_and_put_back_keeps_its_place_and_its_bytes(
    commands: list[bytes], count: int, data: st.DataObject
) -> None:
    size = sum(map(len, commands))
    queue = waiting(queue=len(commands), queue_bytes=size)
    for one in commands:
        queue.put(proposal(one))
    taken = queue.take(count, data.draw(st.integers(1, size)))
    assert 1 <= len(taken) <= count
    queue.put_back(taken)
    assert [one.data for one in queue] == commands
    gone = data.draw(st.sampled_from(list(queue)))
    queue.give_up(gone)
    queue.give_up(gone)  # it is not there any more
    queue.put(gone)  # exactly so much room there is, and no more
    with pytest.raises(Overloaded):
        queue.put(proposal(b"x"))


def test_an_end_is_told_once() -> None:
    queue = waiting()
    one = proposal(b"x")
    queue.put(one)
    queue.end(lambda: StateUnavailable("stopped"))
    one.end(None)
    assert not queue
    assert one.done.is_set()
    assert isinstance(one.error and one.error(), StateUnavailable)
