"""One side of a link and the other, step by step: turns, credit, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from flowcore.errors import StreamBroken
from flowcore.swarm import MOST_CHUNK, MOST_HEAD, MOST_MESSAGE, Lane
from flowcore.swarm.links.flows import GROWN, OVERHEAD, Flow
from flowcore.swarm.links.frames import (
    MOST_FRAME,
    RECORD,
    BrokenProtocol,
    Credit,
    Data,
    Decoder,
    Finish,
    First,
    Goodbye,
    Message,
    More,
    Open,
    Ping,
    Pong,
    Reset,
    Spoken,
    Stop,
    Wanted,
    encode,
)
from flowcore.swarm.links.session import LinkDead
from flowcore.swarm.links.settings import LinkSettings
from support.engines import Pair


def frames(data: bytes) -> list[Any]:
    return list(Decoder[Any](Spoken).feed(data))


def opened(pair: Pair, lane: Lane = Lane.REQUESTS, side: int = 0) -> tuple[Flow, Flow]:
    """A stream that a side has opened: its end, and the other one."""
    ours = pair.sides[side].session.open(lane, b"head")
    pair.settle()
    theirs, head = pair.sides[1 - side].flows[-1]
    assert head == b"head"
    return ours, theirs


def test_what_is_urgent_waits_behind_one_piece_at_most() -> None:
    pair = Pair()
    session = pair.sides[0].session
    flow, _ = opened(pair, Lane.BULK)
    for _ in range(3):
        flow.send(bytes(MOST_CHUNK))
    assert session.post(Lane.BULK, bytes(MOST_MESSAGE))
    pair.take(0)  # on its way
    for lane in reversed(Lane):
        assert session.post(lane, b"urgent")
    data = pair.take(0)
    assert len(data) <= RECORD
    said = frames(data)
    assert [(one.lane, one.data) for one in said[:4]] == [(lane, b"urgent") for lane in range(4)]


def test_streams_and_messages_of_a_lane_take_turns() -> None:
    pair = Pair()
    session = pair.sides[0].session
    one, other = opened(pair)[0], opened(pair)[0]
    for _ in range(3):
        one.send(bytes(MOST_CHUNK))
        other.send(bytes(MOST_CHUNK))
    assert session.post(Lane.REQUESTS, bytes(200_000))
    whose: list[object] = []
    while data := session.take(0.0):
        whose += [getattr(frame, "stream", "message") for frame in frames(data)]
    assert set(whose[:3]) == {one.ident, other.ident, "message"}
    for index in range(0, 12, 3):
        assert len(set(whose[index : index + 3])) == 3, whose


def test_small_messages_go_many_in_one_batch() -> None:
    pair = Pair()
    for number in range(1000):
        assert pair.sides[0].session.post(Lane.CONTROL, b"%d" % number)
    batches = 0
    while pair.take(0):
        batches += 1
    assert batches == 1
    pair.carry(0)
    assert len(pair.sides[1].messages[Lane.CONTROL]) == 1000


def test_a_stream_that_nobody_reads_stops_at_its_window_and_others_go_on() -> None:
    pair = Pair()
    slow, unread = opened(pair)
    quick, read = opened(pair)
    sent = 0
    while slow.covered:
        slow.send(bytes(10_000))
        sent += 1
    pair.settle()
    assert slow.waiting > 0
    held = sum(len(one) + OVERHEAD for one in unread._inbox) + unread.partial
    assert held <= LinkSettings().window
    for number in range(100):
        quick.send(b"%d" % number * 1000)
        pair.settle()
        assert read.receive() == b"%d" % number * 1000
    got = 0
    while got < sent:  # reading brings credit back
        pair.settle()
        assert unread.receive() == bytes(10_000)
        got += 1
    assert slow.waiting == 0


def test_a_window_grows_where_its_reader_keeps_up_and_has_a_bound() -> None:
    pair = Pair()
    window = LinkSettings().window
    ours, theirs = opened(pair)

    def fill() -> int:
        """How many bytes go out at once, while nobody reads."""
        sent = 0
        while ours.covered:
            ours.send(bytes(10_000))
            sent += 10_000 + OVERHEAD
        pair.settle()
        return sent - ours.waiting

    def read() -> None:
        while ours.waiting or theirs._inbox or theirs._lent:
            theirs.receive()
            pair.settle()

    windows = []
    for _ in range(6):
        windows.append(fill())
        read()
    assert windows[0] <= window
    assert (GROWN / 2) * window <= max(windows) <= GROWN * window

    slow, unread = opened(pair)
    for _ in range(300):  # something is always left
        while slow.covered:
            slow.send(bytes(10_000))
        pair.settle()
        unread.receive()
        held = sum(len(one) + OVERHEAD for one in unread._inbox) + unread.partial
        assert 0 < held <= window


def test_where_the_network_is_fast_a_chunk_is_one_frame() -> None:
    pair = Pair()
    flow, _ = opened(pair, Lane.BULK)
    session = pair.sides[0].session
    flow.send(bytes(MOST_CHUNK))
    flow.send(bytes(MOST_CHUNK))
    (whole,) = frames(session.take(0, MOST_FRAME))
    assert whole == Data(flow.ident, False, bytes(MOST_CHUNK))
    first = session.take(0)
    assert len(first) <= RECORD
    (piece,) = frames(first)
    assert piece.more


@pytest.mark.parametrize("size", [100, RECORD - 64, RECORD, MOST_CHUNK, MOST_CHUNK + 1])
@pytest.mark.parametrize("room", [RECORD, MOST_FRAME])
def test_a_message_of_any_size_arrives_in_any_room(size: int, room: int) -> None:
    pair = Pair()
    session = pair.sides[0].session
    assert session.post(Lane.GOSSIP, bytes(size))
    while data := session.take(0, room):
        assert len(data) <= room
        pair.sides[1].session.feed(data, 0.0)
    assert pair.sides[1].messages[Lane.GOSSIP] == [bytes(size)]


def test_a_stream_whose_head_is_all_of_it_is_opened_and_finished_at_once() -> None:
    pair = Pair()
    session = pair.sides[0].session
    ours = session.open(Lane.REQUESTS, b"all", whole=True)
    said = session.take(0)
    assert frames(said) == [Open(ours.ident, Lane.REQUESTS, b"all"), Finish(ours.ident)]
    pair.sides[1].session.feed(said, 0.0)
    ((theirs, head),) = pair.sides[1].flows
    assert (head, theirs.finished, theirs.receive()) == (b"all", True, None)
    theirs.send(b"answer")
    theirs.finish()
    pair.settle()
    assert ours.receive() == b"answer"
    assert session.idle
    assert pair.sides[1].session.idle


def test_a_stream_to_one_who_is_closing_or_never_heard_of_it_is_known_not_to_have_begun() -> None:
    pair = Pair()
    pair.sides[1].session.closing = True
    refused = pair.sides[0].session.open(Lane.REQUESTS, b"head")
    pair.settle()
    assert (refused.broken, refused.unserved) == ("the link is being closed", True)
    pair = Pair()
    begun, _ = opened(pair)
    unsent = pair.sides[0].session.open(Lane.REQUESTS, b"head")
    pair.sides[0].session.fail("the link is down")
    assert (begun.broken, begun.unserved) == ("the link is down", False)
    assert (unsent.broken, unsent.unserved) == ("the link is down", True)


def test_a_full_lane_drops_and_counts_and_the_others_do_not() -> None:
    settings = LinkSettings(lane_messages=3)
    pair = Pair(settings)
    session = pair.sides[0].session
    assert [session.post(Lane.GOSSIP, b"x") for _ in range(5)] == [True] * 3 + [False] * 2
    assert session.post(Lane.CONTROL, b"x")
    assert session.outgoing.messages[Lane.GOSSIP].dropped == 2
    pair.settle()
    assert session.post(Lane.GOSSIP, b"x")


def test_bytes_of_a_lane_are_bounded_too() -> None:
    pair = Pair(LinkSettings(lane_bytes=2 * MOST_MESSAGE))
    session = pair.sides[0].session
    assert [session.post(Lane.BULK, bytes(MOST_MESSAGE)) for _ in range(3)] == [True, True, False]
    pair.settle()
    assert len(pair.sides[1].messages[Lane.BULK]) == 2
    assert session.outgoing.messages[Lane.BULK].bytes == 0


def test_a_reset_ends_both_sides_with_its_reason_and_drops_what_waits() -> None:
    pair = Pair()
    ours, theirs = opened(pair)
    ours.send(b"x")
    pair.settle()
    theirs.reset("no more")
    pair.settle()
    assert (ours.broken, theirs.broken) == ("no more", "no more")
    assert pair.sides[0].session.streams == pair.sides[1].session.streams == (0, 0)
    ours.reset("again")  # does nothing
    assert not pair.take(0)


def test_a_stream_that_was_reset_before_it_began_is_never_heard_of() -> None:
    pair = Pair()
    flow = pair.sides[0].session.open(Lane.BULK, b"head")
    flow.send(b"x")
    flow.reset("changed my mind")
    pair.settle()
    assert pair.sides[1].flows == []
    assert pair.sides[0].session.streams == (0, 0)


def test_what_an_answer_leaves_unread_is_stopped_and_the_answer_still_arrives() -> None:
    pair = Pair()
    ours, theirs = opened(pair)
    for _ in range(4):
        ours.send(bytes(MOST_CHUNK - OVERHEAD))
    theirs.send(b"an early answer")
    theirs.finish()
    theirs.leave()
    pair.settle()
    assert ours.receive() == b"an early answer"
    assert ours.receive() is None
    assert ours.finished
    assert ours.broken is None
    assert pair.sides[0].session.streams == pair.sides[1].session.streams == (0, 0)


def test_a_stream_that_is_left_before_its_end_breaks() -> None:
    pair = Pair()
    ours, theirs = opened(pair)
    ours.leave()
    pair.settle()
    assert theirs.broken == "left before its end"


def test_no_more_streams_than_the_peer_takes() -> None:
    pair = Pair(LinkSettings(streams=2))
    session = pair.sides[0].session
    first, _ = session.open(Lane.BULK, b""), session.open(Lane.BULK, b"")
    with pytest.raises(StreamBroken, match="there are 2 streams to 'beta', as many as may be"):
        session.open(Lane.BULK, b"")
    first.reset("")
    session.open(Lane.BULK, b"")
    with pytest.raises(ValueError, match="head of at most"):
        session.open(Lane.BULK, bytes(MOST_HEAD + 1))


def test_a_ping_is_answered_and_the_round_trip_smoothed() -> None:
    """RFC 6298 section 2: R' 0.1, then 0.2."""
    pair = Pair()
    trip = pair.sides[0].session.round_trip
    for start, took in ((0.0, 0.1), (1.0, 0.2)):
        pair.now = start
        pair.sides[0].session.tick(start)
        pair.take(0)
        pair.carry(0)
        pair.now = start + took
        pair.take(1)
        pair.carry(1)
    assert trip.smoothed == pytest.approx(0.1 + 0.1 / 8)
    assert trip.variation == pytest.approx(0.05 + (0.1 - 0.05) / 4)


def test_a_peer_that_does_not_answer_is_dead_although_it_talks() -> None:
    pair = Pair()
    pair.sides[0].session.tick(0.0)
    pair.take(0)
    pair.sides[1].session.post(Lane.GOSSIP, b"x")
    pair.take(1)
    pair.carry(1)
    pair.sides[0].session.tick(4.9)
    with pytest.raises(LinkDead, match="no answer for 5 s"):
        pair.sides[0].session.tick(5.0)


def test_what_begins_while_the_link_closes_is_reset() -> None:
    pair = Pair()
    pair.sides[1].session.closing = True
    flow = pair.sides[0].session.open(Lane.BULK, b"")
    pair.settle()
    assert flow.broken == "the link is being closed"
    assert not pair.sides[1].session.post(Lane.BULK, b"")
    with pytest.raises(StreamBroken, match="is being closed"):
        pair.sides[1].session.open(Lane.BULK, b"")


def test_wishes_and_farewells_are_told() -> None:
    pair = Pair()
    pair.sides[0].session.say_wanted(True)
    pair.sides[0].session.goodbye("off\nnow")
    pair.settle()
    assert (pair.sides[1].wants, pair.sides[1].farewell) == (True, "off now")


def test_an_unknown_frame_is_skipped_if_it_may_be_and_else_breaks_the_protocol() -> None:
    body = b"\x93\x7f\x01\x81\xa1a\xc0"  # [127, 1, {"a": nil}]
    session = Pair().sides[0].session
    session.feed((len(body) | 1 << 31).to_bytes(4, "big") + body + encode(Ping(1)), 0.0)
    assert (session.skipped, session.frames_in) == (1, 1)
    with pytest.raises(BrokenProtocol, match="a frame that is none"):
        session.feed(len(body).to_bytes(4, "big") + body, 0.0)


def test_a_known_frame_with_more_in_it_than_this_version_has_breaks_the_protocol() -> None:
    body = b"\x93\x11\x01\x02"  # [17, 1, 2]: a ping that says more
    session = Pair().sides[0].session
    with pytest.raises(BrokenProtocol):
        session.feed((len(body) | 1 << 31).to_bytes(4, "big") + body, 0.0)


WRONG: dict[str, list[Any]] = {
    "no lane": [Message(5, b"")],
    "a negative lane": [Message(-1, b"")],
    "a piece of nothing": [More(0, b"x")],
    "an empty piece": [First(0, 10, b"x"), More(0, b"")],
    "a message within another": [First(0, 10, b"x"), Message(0, b"y")],
    "pieces within pieces": [First(0, 10, b"x"), First(0, 10, b"y")],
    "a longer message than said": [First(0, 3, b"x"), More(0, b"yyyy")],
    "a message that is too large": [First(0, MOST_MESSAGE + 1, b"x")],
    "a first piece that is all": [First(0, 1, b"x")],
    "pieces on no lane": [First(7, 10, b"x")],
    "a stream of the wrong side": [Open(1, 0, b"")],
    "a stream too far": [Open(4, 0, b"")],
    "a stream twice": [Open(2, 0, b""), Open(2, 0, b"")],
    "a stream on no lane": [Open(2, 9, b"")],
    "a head that is too large": [Open(2, 0, bytes(MOST_HEAD + 1))],
    "data of no stream": [Data(2, False, b"x")],
    "data of a stream of ours that never was": [Data(1, False, b"x")],
    "data of a negative stream": [Data(-2, False, b"x")],
    "a reset of no stream": [Reset(8, "")],
    "data after the end": [Open(2, 0, b""), Finish(2), Data(2, False, b"x")],
    "two ends": [Open(2, 0, b""), Finish(2), Finish(2)],
    "an end within a chunk": [Open(2, 0, b""), Data(2, True, b"x"), Finish(2)],
    "a stop before the end": [Open(2, 0, b""), Stop(2)],
    "no credit": [Open(2, 0, b""), Credit(2, 0)],
    "negative credit": [Open(2, 0, b""), Credit(2, -5)],
    "endless credit": [Open(2, 0, b""), Credit(2, 1 << 40)],
    "an empty piece of a chunk": [Open(2, 0, b""), Data(2, True, b"")],
    "a chunk that is too long": [Open(2, 0, b""), *[Data(2, True, bytes(16_000))] * 5],
    "more than its credit": [Open(2, 0, b""), *[Data(2, False, bytes(16_000))] * 17],
    "more streams than may be": [Open(2 * number, 0, b"") for number in range(1, 1026)],
}


@pytest.mark.parametrize("said", WRONG.values(), ids=WRONG)
def test_what_no_node_says_breaks_the_protocol(said: list[Any]) -> None:
    session = Pair().sides[0].session
    with pytest.raises(BrokenProtocol):
        for one in said:
            session.feed(encode(one), 0.0)


def test_what_comes_for_a_stream_that_has_ended_is_late_and_counted() -> None:
    pair = Pair()
    ours, _ = opened(pair)
    ours.reset("")
    session = pair.sides[0].session
    for one in (Data(ours.ident, False, b"x"), Credit(ours.ident, 5), Finish(ours.ident)):
        session.feed(encode(one), 0.0)
    assert session.late == 3


def test_a_replay_of_a_whole_conversation_breaks_the_protocol() -> None:
    pair = Pair()
    ours, _ = opened(pair)
    ours.send(b"x")
    said = pair.sides[0].session.take(0.0)
    pair.sides[1].session.feed(said, 0.0)
    again = encode(Open(1, int(Lane.REQUESTS), b"head")) + said
    with pytest.raises(BrokenProtocol, match="a stream of number 1 after 1"):
        pair.sides[1].session.feed(again, 0.0)


def test_a_peer_that_asks_and_does_not_read_is_cut_off_with_memory_bounded() -> None:
    pair = Pair()
    session, number = pair.sides[0].session, 0
    with pytest.raises(BrokenProtocol, match="does not read"):
        for number in range(2, 200_000, 2):
            session.feed(encode(Open(number, 0, b"")), 0.0)
            pair.sides[0].flows.pop()[0].reset("no")
    assert number < 50_000


def test_pings_without_end_are_answered_once_a_batch() -> None:
    session = Pair().sides[0].session
    for number in range(1000):
        session.feed(encode(Ping(number)), 0.0)
    assert frames(session.take(0.0)) == [Pong(999)]


def test_after_a_goodbye_nothing_is_heard() -> None:
    pair = Pair()
    session = pair.sides[0].session
    session.feed(encode(Goodbye("off")), 0.0)
    assert session.closing
    assert pair.sides[0].farewell == "off"
    session.feed(encode(Wanted(True)), 0.0)
