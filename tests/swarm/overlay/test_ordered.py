"""The engine of messages that arrive once and in order, without any network."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flowcore.swarm import Lane
from flowcore.swarm.overlay.frames import Ack, Segment
from flowcore.swarm.overlay.ordered import EARLY, Receiving, Sending

PATIENCE = 10.0
MOST, MOST_BYTES = 8, 2**20


def sending(life: int = 1) -> Sending:
    return Sending("beta", "t", life=life, patience=PATIENCE, most=MOST, most_bytes=MOST_BYTES)


class Ordered(RuleBasedStateMachine):
    """One channel over a network that loses, doubles and reorders, and two nodes that restart."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.life = 1
        self.sender = sending()
        self.boot = 100
        self.receiver: Receiving | None = None
        self.over: set[int] = set()
        self.flying: list[Segment] = []
        self.acks: list[Ack] = []
        self.deaf = False
        self.count = 0
        self.settled: dict[int, str | None] = {}
        """What the sender was told of each message."""
        self.given: dict[int, list[int]] = {self.boot: []}
        """What each start of the receiver was given."""
        self.told: list[int] = []
        """How many messages had been given in all whenever a gap was told."""
        self.refused: set[int] = set()
        self.sender.meet(self.boot, self.now)

    # ---- what the nodes do

    @rule()
    def send(self) -> None:
        if self.sender.full:
            return
        self.count += 1
        number = self.count

        def settle(reason: str | None) -> None:
            assert number not in self.settled
            self.settled[number] = reason

        self.sender.put(b"%d" % number, Lane.CONTROL, self.now, settle)

    @rule(seconds=st.sampled_from((0.0, 0.01, 0.1, 0.5, 3.0)), takes=st.booleans())
    def time(self, seconds: float, takes: bool) -> None:
        self.now += seconds

        def post(node: str, segment: Segment, lane: Lane) -> bool:
            if takes:
                self.flying.append(segment)
            return takes

        if self.sender.due <= self.now:
            self.sender.tick(self.now, post)
            assert self.sender.due > self.now  # else whoever drives it goes round in circles

    @rule()
    def hurry(self) -> None:
        self.sender.hurry(self.now)

    @rule(deaf=st.booleans())
    def listen(self, deaf: bool) -> None:
        self.deaf = deaf

    # ---- what the network does

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        if self.flying:
            at = data.draw(st.integers(0, len(self.flying) - 1))
            segment = self.flying[at]
            if not data.draw(st.booleans()):
                del self.flying[at]  # else it comes again
            self.take(segment)

    @rule()
    def arrive_all(self) -> None:
        waiting, self.flying = self.flying, []
        for segment in waiting:
            self.take(segment)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.flying:
            del self.flying[data.draw(st.integers(0, len(self.flying) - 1))]

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        if self.acks:
            at = data.draw(st.integers(0, len(self.acks) - 1))
            ack = self.acks[at]
            if not data.draw(st.booleans()):
                del self.acks[at]
            self.sender.take(ack, self.now)

    # ---- what fails

    @rule()
    def receiver_restarts(self) -> None:
        self.boot += 1
        self.receiver = None
        self.over.clear()
        self.given[self.boot] = []

    @rule()
    def sender_hears_of_it(self) -> None:
        self.sender.meet(self.boot, self.now)

    @rule()
    def sender_gives_up(self) -> None:
        self.sender.give_up("gone")

    # ---- what must hold

    def take(self, segment: Segment) -> None:
        """As the driver does it."""
        if segment.receiver != self.boot or segment.life in self.over:
            return
        if self.receiver is None or self.receiver.life != segment.life:
            self.receiver = Receiving(segment.life)
        given = self.given[self.boot]

        def give(message: bytes) -> bool:
            if self.deaf:
                self.refused.add(int(message))
                return False
            given.append(int(message))
            return True

        self.receiver.take(segment, give, lambda words: self.told.append(len(given)), MOST_BYTES)
        self.acks.append(self.receiver.ack("t", self.boot))

    @invariant()
    def in_order_and_never_twice(self) -> None:
        everything = [number for given in self.given.values() for number in given]
        assert len(everything) == len(set(everything))
        for given in self.given.values():
            assert given == sorted(given)

    @invariant()
    def what_was_confirmed_was_given(self) -> None:
        everything = {number for given in self.given.values() for number in given}
        for number, reason in self.settled.items():
            if reason is None:
                assert number in everything
            elif reason == "nobody listens there":
                assert number in self.refused

    @invariant()
    def little_is_held(self) -> None:
        assert self.sender.count <= MOST

    def teardown(self) -> None:
        """Once nothing fails any more, all that waits is taken, and a gap was told if there was one."""
        self.deaf = False
        self.sender.meet(self.boot, self.now)
        waiting = [n for n in range(1, self.count + 1) if n not in self.settled]
        for _ in range(40):
            self.time(0.2, True)
            self.arrive_all()
            for ack in self.acks:
                self.sender.take(ack, self.now)
            self.acks.clear()
        assert self.sender.count == 0
        assert self.sender.due == float("inf")
        for number in waiting:
            # it may have been refused before, or have been sent to an earlier start
            assert number in self.settled
        self.in_order_and_never_twice()
        self.what_was_confirmed_was_given()
        everything = {number for given in self.given.values() for number in given}
        lost = {n for n, why in self.settled.items() if why} - everything - self.refused
        if lost and any(number > min(lost) for number in everything):
            assert self.told


TestOrdered = Ordered.TestCase
TestOrdered.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


class Ends:
    """A sender and a receiver whose segments a test carries by hand."""

    def __init__(self) -> None:
        self.sender = sending()
        self.sender.meet(7, 0.0)
        self.receiver = Receiving(1)
        self.log: list[str] = []
        self.segments: list[Segment] = []

    def put(self, *words: str, now: float = 0.0) -> None:
        for word in words:
            self.sender.put(
                word.encode(),
                Lane.CONTROL,
                now,
                lambda reason, word=word: self.log.append(f"{word}: {reason or 'taken'}"),  # type: ignore[misc]
            )

    def tick(self, now: float) -> list[Segment]:
        segments: list[Segment] = []

        def post(node: str, segment: Segment, lane: Lane) -> bool:
            segments.append(segment)
            return True

        self.sender.tick(now, post)
        return segments

    def take(self, *segments: Segment) -> None:
        def give(data: bytes) -> bool:
            self.log.append(f"got {data.decode()}")
            return True

        for segment in segments:
            self.receiver.take(
                segment,
                give,
                lambda words: self.log.append(f"gap: {words}"),
                MOST_BYTES,
            )


def test_a_transcript_of_a_loss() -> None:
    ends = Ends()
    ends.put("a", "b", "c")
    _, second, third = ends.tick(0.0)
    ends.take(third, second)  # a is lost
    assert ends.log == []
    ends.sender.take(ends.receiver.ack("t", 7), 0.1)
    again = ends.tick(0.4)
    assert [one.number for one in again] == [1, 2, 3]
    ends.take(*again)
    assert ends.log == ["got a", "got b", "got c"]
    assert ends.receiver.duplicates == 2
    ends.sender.take(ends.receiver.ack("t", 7), 0.5)
    assert ends.log[3:] == ["a: taken", "b: taken", "c: taken"]
    assert ends.sender.due == float("inf")


def test_a_transcript_of_what_waits_too_long() -> None:
    ends = Ends()
    ends.put("a", "b")
    ends.tick(0.0)  # both are lost
    ends.put("c", now=5.0)
    segments = ends.tick(PATIENCE)
    assert ends.log == [f"{x}: 'beta' has not confirmed it within 10 s" for x in "ab"]
    assert [(one.number, one.floor) for one in segments] == [(3, 3)]
    ends.take(*segments)
    assert ends.log[2:] == ["gap: 2 messages are lost", "got c"]


def test_a_gap_is_told_also_if_nothing_follows_it() -> None:
    ends = Ends()
    ends.put("a")
    ends.tick(0.0)
    assert ends.tick(PATIENCE) == [Segment("t", 1, 7, 0, 2, False, b"")]
    assert ends.tick(PATIENCE + 2) == [Segment("t", 1, 7, 0, 2, False, b"")]  # till it is confirmed
    ends.take(Segment("t", 1, 7, 0, 2, False, b""))
    assert ends.log[1:] == ["gap: 1 messages are lost"]
    ends.sender.take(ends.receiver.ack("t", 7), PATIENCE + 2)
    assert ends.sender.due == float("inf")


def test_what_was_sent_to_an_earlier_start_is_not_sent_to_the_next() -> None:
    ends = Ends()
    ends.put("a")
    ends.tick(0.0)
    ends.put("b", now=0.1)
    ends.sender.meet(8, 0.1)
    ends.receiver = Receiving(1)
    assert ends.log == ["a: 'beta' has restarted: it may have taken it before"]
    segments = ends.tick(0.1)
    assert segments == [Segment("t", 1, 8, 1, 1, True, b"b")]
    ends.take(*segments, *segments)
    assert ends.log[1:] == ["gap: messages of an earlier life may be lost", "got b"]
    assert ends.sender.take(ends.receiver.ack("t", 8), 0.2)
    ends.put("c", now=0.3)
    ends.take(*ends.tick(0.3))
    assert ends.log[3:] == ["b: taken", "got c"]


@pytest.mark.parametrize(
    "ack",
    [
        Ack("t", 2, 7, 2, ()),  # of another life
        Ack("t", 1, 8, 2, ()),  # of another start
        Ack("t", 1, 7, 99, ()),  # of what was never sent
    ],
)
def test_confirmations_that_cannot_be_are_not_taken(ack: Ack) -> None:
    ends = Ends()
    ends.put("a")
    ends.tick(0.0)
    assert not ends.sender.take(ack, 0.1)
    assert ends.log == []


def test_what_a_receiver_holds_is_bounded() -> None:
    receiver = Receiving(1)
    given: list[bytes] = []

    def hear(data: bytes) -> bool:
        given.append(data)
        return True

    for number in range(2, 5 * EARLY):
        segment = Segment("t", 1, 7, number, 1, False, bytes(1000))
        receiver.take(segment, hear, print, 100_000)
    assert receiver._early_bytes <= 100_000
    assert not given
    # nor does a sender that claims to have given up a great many hold it
    receiver.take(Segment("t", 1, 7, 0, 2**62, False, b""), lambda data: True, print, 100_000)
    assert receiver.ack("t", 7).expected == 2**62
    assert not receiver._early
    # nor one that sends what nobody listens to
    for number in range(5 * EARLY):
        segment = Segment("t", 1, 7, 2**62 + number, 1, False, b"")
        receiver.take(segment, lambda data: False, print, 100_000)
    assert len(receiver.ack("t", 7).refused) == EARLY
