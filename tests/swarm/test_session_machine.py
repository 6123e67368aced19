"""Two engines, everything that they can do, in any order and cut anywhere."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowcore.errors import StreamBroken
from flowcore.swarm import MOST_CHUNK, MOST_MESSAGE, Lane
from flowcore.swarm.links.flows import GROWN, OVERHEAD, Flow, Out
from flowcore.swarm.links.frames import (
    RECORD,
    Data,
    Decoder,
    First,
    Message,
    More,
    Open,
    Spoken,
)
from flowcore.swarm.links.session import Session
from flowcore.swarm.links.settings import LinkSettings
from support.engines import Pair

SETTINGS = LinkSettings(window=128 * 1024, streams=6, lane_messages=20, lane_bytes=3 * 2**20)
SIZES = st.one_of(st.integers(0, 100), st.integers(16_200, 16_400), st.integers(0, MOST_CHUNK))
SIDES = st.integers(0, 1)
LANES = st.sampled_from(list(Lane))


class End:
    """One end of a stream, as the model knows it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.sent: list[int] = []
        """What was given to it, each chunk by its number and length."""
        self.got: list[bytes] = []
        self.read_on = True


class TwoSides(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(SETTINGS)
        self.accepted: dict[tuple[int, Lane], list[bytes]] = {}
        self.ends: list[deque[End]] = [deque(), deque()]
        self.streams: dict[bytes, dict[int, End]] = {}
        self.count = 0

    def content(self, size: int) -> bytes:
        """Bytes that no other message or chunk has."""
        self.count += 1
        mark = b"%d:" % self.count
        return (mark * (size // len(mark) + 1))[: max(size, len(mark))]

    # ---- messages

    @rule(side=SIDES, lane=LANES, size=st.one_of(SIZES, st.just(MOST_MESSAGE)))
    def post(self, side: int, lane: Lane, size: int) -> None:
        message = self.content(size)[:MOST_MESSAGE]
        dropped = self.pair.sides[side].session.outgoing.messages[lane].dropped
        done = self.pair.sides[side].session.post(lane, message)
        if done:
            self.accepted.setdefault((side, lane), []).append(message)
        assert self.pair.sides[side].session.outgoing.messages[lane].dropped == dropped + (not done)

    # ---- streams

    @rule(side=SIDES, lane=LANES, size=st.integers(0, 1000))
    def open(self, side: int, lane: Lane, size: int) -> None:
        head = self.content(size)
        session = self.pair.sides[side].session
        if session.streams[0] >= SETTINGS.streams:
            with pytest.raises(StreamBroken, match="as many as may be"):
                session.open(lane, head)
        else:
            end = End(session.open(lane, head))
            self.ends[side].append(end)
            self.streams[head] = {side: end}

    def end(self, side: int) -> End | None:
        """An end of this side's, each in its turn."""
        for flow, head in self.pair.sides[side].flows:
            if side not in self.streams[head]:
                end = self.streams[head][side] = End(flow)
                self.ends[side].append(end)
        if not self.ends[side]:
            return None
        self.ends[side].rotate(-1)
        return self.ends[side][0]

    @rule(side=SIDES, size=SIZES)
    def send(self, side: int, size: int) -> None:
        end = self.end(side)
        if end and end.flow.broken is None and end.flow.out is Out.OPEN and end.flow.covered:
            chunk = self.content(size)[:MOST_CHUNK]
            end.sent.append(self.count)
            end.flow.send(chunk)

    @rule(side=SIDES, count=st.integers(1, 10), short=st.integers(-40, 40))
    def pour(self, side: int, count: int, short: int) -> None:
        """Send until there is no credit, the last chunk about as long as what there is."""
        end = self.end(side)
        for _ in range(count):
            if end and end.flow.broken is None and end.flow.out is Out.OPEN and end.flow.covered:
                left = end.flow._credit - end.flow.waiting + short
                chunk = self.content(min(left, MOST_CHUNK))[:MOST_CHUNK]
                end.sent.append(self.count)
                end.flow.send(chunk)

    @rule(side=SIDES, most=st.integers(1, 20))
    def receive(self, side: int, most: int) -> None:
        end = self.end(side)
        if end and end.read_on and end.flow.broken is None:
            for _ in range(most):
                chunk = end.flow.receive()
                if chunk is None:
                    break
                end.got.append(chunk)

    @rule(side=SIDES)
    def finish(self, side: int) -> None:
        end = self.end(side)
        if end and end.flow.broken is None:
            end.flow.finish()

    @rule(side=SIDES)
    def leave(self, side: int) -> None:
        end = self.end(side)
        if end:
            end.read_on = False
            end.flow.leave()

    @rule(side=SIDES)
    def reset(self, side: int) -> None:
        end = self.end(side)
        if end:
            end.flow.reset("of the test")

    # ---- the wire

    @rule(side=SIDES)
    def take(self, side: int) -> None:
        session = self.pair.sides[side].session
        data = self.pair.take(side)
        assert len(data) <= RECORD
        lanes = [self.lane_of(session, frame) for frame in Decoder[Any](Spoken).feed(data)]
        said = [lane for lane in lanes if lane is not None]
        assert said == sorted(said)
        for lane in Lane:
            if said and lane < said[-1]:  # something less urgent went: so nothing waits here
                assert not len(session.outgoing.messages[lane])

    def lane_of(self, session: Session, frame: Any) -> int | None:
        """The lane of a frame, as far as it has one that is known still."""
        if isinstance(frame, Message | First | More | Open):
            return frame.lane
        flow = session._flows.get(frame.stream) if isinstance(frame, Data) else None
        return None if flow is None else int(flow.lane)

    @rule(side=SIDES, most=st.one_of(st.integers(1, 10), st.integers(1, 40_000)))
    def carry(self, side: int, most: int) -> None:
        self.pair.carry(side, most)

    @rule(seconds=st.floats(0, 2))
    def time(self, seconds: float) -> None:
        self.pair.now += seconds
        for side in self.pair.sides:
            if side.session.round_trip.overdue(self.pair.now):
                self.pair.now -= (
                    seconds  # nothing has been carried for long: it is not this test's matter
                )
                return
        for side in self.pair.sides:
            side.session.tick(self.pair.now)

    # ---- what holds

    @invariant()
    def messages_arrive_in_order(self) -> None:
        for side in (0, 1):
            for lane in Lane:
                arrived = self.pair.sides[1 - side].messages[lane]
                assert arrived == self.accepted.get((side, lane), [])[: len(arrived)]

    @invariant()
    def what_is_held_has_a_bound(self) -> None:
        for side in (0, 1):
            for flow, _ in self.pair.sides[side].flows:
                held = sum(len(chunk) + OVERHEAD for chunk in flow._inbox) + flow.partial
                assert held <= GROWN * SETTINGS.window
            assert max(self.pair.sides[side].session.streams) <= SETTINGS.streams

    @invariant()
    def chunks_arrive_in_order(self) -> None:
        for ends in self.streams.values():
            for side, end in ends.items():
                other = ends.get(1 - side)
                numbers = [int(chunk.split(b":")[0]) for chunk in end.got]
                assert numbers == ([] if other is None else other.sent[: len(numbers)])

    @precondition(lambda self: self.streams)
    @rule()
    def settle(self) -> None:
        self.pair.settle()

    def teardown(self) -> None:
        """All that was accepted arrives, all that is read to its end ends, and nothing is left."""
        for _ in range(3):
            self.pair.settle()
            for side in (0, 1):
                self.end(side)
                for end in self.ends[side]:
                    if end.flow.broken is None:
                        end.flow.finish()
                    while end.read_on and end.flow.broken is None:
                        self.pair.settle()
                        chunk = end.flow.receive()
                        if chunk is None:
                            break
                        end.got.append(chunk)
        self.pair.settle()
        for (side, lane), messages in self.accepted.items():
            assert self.pair.sides[1 - side].messages[lane] == messages
        for ends in self.streams.values():
            for side, end in ends.items():
                other = ends.get(1 - side)
                if end.read_on and end.flow.broken is None and other is not None:
                    assert end.flow.finished
                    if other.flow.broken is None and other.flow.out is not Out.STOPPED:
                        assert len(end.got) == len(other.sent)
        for one in self.pair.sides:
            assert one.session.streams == (0, 0)
            assert one.session.idle


TwoSides.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestTwoSides = TwoSides.TestCase
