"""What the engine is made of: the wire's form, news, suspicion, health, timers, round trips."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_membership.swim.claims import read_about, read_accused, read_alive
from flow_membership.swim.gossip import Gossip, Weight
from flow_membership.swim.health import LocalHealth
from flow_membership.swim.metering import Meter
from flow_membership.swim.probing import RoundTrip
from flow_membership.swim.settings import PROFILES, SwimConfig
from flow_membership.swim.suspicion import Suspicion, shortest
from flow_membership.swim.timers import Timers
from flow_membership.swim.wire import (
    KINDS,
    About,
    AboutClaim,
    Accusation,
    Accused,
    Ack,
    Alive,
    AliveClaim,
    Forward,
    Forwarded,
    Malformed,
    Nack,
    Ping,
    encode,
    joined,
    kinds,
    read,
)

SIGNATURE = bytes(64)
ONE_OF_EACH = (
    Ping(7),
    Ack(2**32),
    Forward("bob", b"sealed", 9, 150),
    Forwarded(b"sealed"),
    Nack(9),
    AliveClaim(b"body", SIGNATURE),
    AboutClaim(b"body", SIGNATURE),
    Accusation(b"body", SIGNATURE),
)

# ---- the wire


def test_every_kind_comes_as_it_went() -> None:
    assert {type(one) for one in ONE_OF_EACH} == set(KINDS)
    found = read(joined([encode(one) for one in ONE_OF_EACH]))
    assert (tuple(found.messages), found.unknown, found.malformed) == (ONE_OF_EACH, 0, 0)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 300])
def test_a_body_holds_any_number(count: int) -> None:
    assert len(read(joined([encode(Ping(1))] * count)).messages) == count


def test_kinds_of_the_future_are_skipped_and_counted() -> None:
    future = [
        msgspec.msgpack.encode([number, "whatever", {"a": 1}])
        for number in range(128)
        if number not in set(kinds())
    ]
    long = msgspec.msgpack.encode([99, *range(40)])
    body = joined([*future, long, encode(Ping(1))])
    found = read(body)
    assert found.messages == [Ping(1)]
    assert (found.unknown, found.malformed) == (len(future) + 1, 0)


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda one: type(one).__name__)
def test_fields_that_a_newer_version_adds_are_ignored(message: msgspec.Struct) -> None:
    fields = [message.__struct_config__.tag, *msgspec.structs.astuple(message)]
    found = read(joined([msgspec.msgpack.encode([*fields, "new", {"and": "more"}])]))
    assert found.messages == [message]


@pytest.mark.parametrize(
    "part",
    [
        *(
            b"\xc0",
            b"\x01",
            b"\x90",
            b"\x80",
            b"\xa1x",
            b"\x91\xff",
            b"\x91\xa1x",
            b"\x92\x01\xa1x",
        ),
        *(b"\x91\x01", b"\x92\x03\x01", b"\x94\x03\xa3bob\x01\x01"),
    ],
    ids=bytes.hex,
)
def test_a_message_that_is_none_is_counted_and_the_rest_is_read(part: bytes) -> None:
    found = read(joined([part, encode(Ping(1))]))
    assert (found.messages, found.malformed) == ([Ping(1)], 1)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_malformed(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        read(body)


@given(st.sampled_from(ONE_OF_EACH), st.data())
def test_a_message_that_was_tampered_with_is_read_or_counted(
    message: msgspec.Struct, data: st.DataObject
) -> None:
    part = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(part)))
    for body in (joined([bytes(part)]), joined([bytes(part[:cut])]), bytes(part)):
        with contextlib.suppress(Malformed):
            read(body)


def test_lengths_that_are_not_there_take_no_memory() -> None:
    for body in (
        b"\xdd\xff\xff\xff\xff",  # four milliards of messages
        b"\x91\x92\x04\xc6\xff\xff\xff\xff",  # a datagram of four gigabytes
        b"\x91\x92\x03\xdb\xff\xff\xff\xff",  # a name as long
        b"\x91" * 5000,
    ):
        with pytest.raises(Malformed):
            read(body)


KEY = bytes(32)
GOOD_ALIVE = Alive("ann", 1, False, "ann:7400", KEY, 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "n" * 256},
        {"incarnation": 0},
        {"incarnation": -1},
        {"incarnation": 2**40 + 1},
        {"address": ""},
        {"address": "a" * 256},
        {"key": b"short"},
        {"oldest": 3, "newest": 2},
    ],
    ids=str,
)
def test_a_claim_of_nonsense_is_none(changes: dict[str, object]) -> None:
    read_alive(AliveClaim(encode(GOOD_ALIVE), SIGNATURE))
    body = msgspec.structs.replace(GOOD_ALIVE, **changes)
    with pytest.raises(Malformed):
        read_alive(AliveClaim(encode(body), SIGNATURE))


def test_claims_have_bounds() -> None:
    read_about(AboutClaim(encode(About("ann", 1, bytes(512))), SIGNATURE))
    read_accused(Accusation(encode(Accused("ann", "bob", 1, False)), SIGNATURE))
    wrong: list[Callable[[], object]] = [
        lambda: read_about(AboutClaim(encode(About("ann", 1, bytes(513))), SIGNATURE)),
        lambda: read_about(AboutClaim(encode(About("ann", 0, b"")), SIGNATURE)),
        lambda: read_about(AboutClaim(encode(About("ann", 1, b"")), b"short")),
        lambda: read_about(AboutClaim(b"garbage", SIGNATURE)),
        lambda: read_accused(Accusation(encode(Accused("ann", "ann", 1, True)), SIGNATURE)),
        lambda: read_accused(Accusation(encode(Accused("ann", "bob", 0, True)), SIGNATURE)),
        lambda: read_alive(AliveClaim(encode(["ann"]), SIGNATURE)),
    ]
    for read_wrong in wrong:
        with pytest.raises(Malformed):
            read_wrong()


# ---- news


def sent(gossip: Gossip, room: int = 1400, members: int = 64, now: float = 0.0) -> list[bytes]:
    return gossip.fill(room, members, now)


def test_news_are_passed_on_lambda_log_n_times() -> None:
    for members in (2, 5, 64, 500):
        gossip = Gossip(3.0)
        gossip.put(Weight.ALIVE, "ann", "alive", b"news")
        times = 0
        while sent(gossip, members=members):
            times += 1
        assert times == math.ceil(3 * math.log(members + 1))
        assert len(gossip) == 0


def test_what_matters_goes_first_and_then_what_was_sent_least() -> None:
    gossip = Gossip(3.0)
    for weight in reversed(Weight):
        for name in ("old", "new"):
            gossip.put(weight, f"{name} {weight}", "slot", f"{name} {weight.name}".encode())
    everything = [f"{age} {one.name}".encode() for one in Weight for age in ("new", "old")]
    assert sent(gossip) == everything
    gossip.put(Weight.SUSPECTED, "newest", "slot", b"newest SUSPECTED")
    again = sent(gossip)
    assert again.index(b"newest SUSPECTED") == 4
    assert again[:4] == everything[:4]


@given(
    st.lists(st.tuples(st.sampled_from(Weight), st.integers(1, 700)), max_size=30),
    st.integers(0, 1400),
)
def test_as_much_as_fits_and_no_more(news: list[tuple[Weight, int]], room: int) -> None:
    gossip = Gossip(3.0)
    for number, (weight, size) in enumerate(news):
        gossip.put(weight, f"{number}", "slot", bytes([number]) * size)
    chosen = gossip.fill(room, 64, 0.0)
    assert len(joined(chosen)) <= max(room, 3)
    left = room - 3 - sum(map(len, chosen))
    assert left < 100 or all(
        size > left or bytes([at]) * size in chosen for at, (_, size) in enumerate(news)
    )


def test_what_is_newer_takes_the_place_of_what_is_older() -> None:
    gossip = Gossip(3.0)
    gossip.put(Weight.ABOUT, "ann", "about", b"first")
    gossip.put(Weight.ABOUT, "ann", "about", b"second")
    gossip.put(Weight.SUSPECTED, "ann", "suspected by bob", b"bob says")
    gossip.put(Weight.SUSPECTED, "ann", "suspected by cid", b"cid says")
    gossip.drop_accusations("ann")
    assert sent(gossip) == [b"second"]


def test_an_accusation_that_has_waited_is_no_news() -> None:
    gossip = Gossip(3.0)
    gossip.put(Weight.GONE, "ann", "dead", b"dead", until=5.0)
    assert sent(gossip, now=5.0) == [b"dead"]
    assert sent(gossip, now=5.1) == []
    assert len(gossip) == 0


# ---- suspicion


def suspicion(wanted: int = 3) -> Suspicion:
    return Suspicion(began=100.0, least=2.0, most=12.0, wanted=wanted, accusers={"ann"})


def test_a_suspicion_shrinks_with_confirmations_as_in_lifeguard() -> None:
    """Section 4.2: max(min, max - (max - min) · log(C + 1) / log(K + 1))."""
    one = suspicion()
    ends = [one.ends(101.0)]
    for accuser in ("bob", "cid", "dot"):
        assert one.confirm(accuser)
        ends.append(one.ends(101.0))
    expected = [112.0, 107.0, 112.0 - 10 * math.log(3) / math.log(4), 102.0]
    assert ends == pytest.approx(expected)
    assert not one.confirm("eve")
    assert one.ends(101.0) == ends[-1]


def test_who_has_heard_nobody_waits_for_half_of_the_confirmations() -> None:
    one = suspicion()
    assert one.ends(99.0) == 107.0
    for accuser in ("bob", "cid", "dot"):
        one.confirm(accuser)
    assert one.ends(99.0) == 102.0


def test_nobody_confirms_twice() -> None:
    one = suspicion()
    assert not one.confirm("ann")
    assert one.confirm("bob")
    assert not one.confirm("bob")
    assert one.confirmations == 1


def test_where_nobody_could_confirm_it_is_short_at_once() -> None:
    assert suspicion(0).ends(101.0) == 102.0


def test_the_shortest_suspicion_grows_with_the_logarithm_of_the_members() -> None:
    assert [shortest(5, members, 0.2) for members in (1, 2, 10, 100)] == [1.0, 1.0, 1.0, 2.0]


# ---- health


def test_health_follows_what_goes_wrong_here() -> None:
    health = LocalHealth(8)
    health.probe_answered()
    assert health.factor == 1
    health.probe_failed(others_heard=True, helpers_heard=False)
    health.refuted()
    health.late()
    assert health.factor == 4
    health.probe_failed(others_heard=True, helpers_heard=True)  # the target is gone
    health.probe_failed(others_heard=False, helpers_heard=False)  # this node is cut off
    assert health.factor == 4
    for _ in range(9):
        health.late()
    assert health.factor == 9
    for _ in range(20):
        health.probe_answered()
    assert (health.factor, health.worst) == (1, 8)


# ---- time


def test_timers_ring_in_order() -> None:
    timers = Timers()
    rung: list[str] = []
    timers.at(2.0, lambda now: rung.append(f"b {now}"))
    timers.at(1.0, lambda now: rung.append(f"a {now}"))
    timers.at(2.0, lambda now: rung.append(f"c {now}"))
    timers.at(3.0, lambda now: rung.append(f"d {now}"))
    assert timers.due == 1.0
    timers.run(2.5)
    assert rung == ["a 2.5", "b 2.5", "c 2.5"]
    assert timers.due == 3.0
    timers.run(3.0)
    assert timers.due == math.inf


def test_round_trips_are_smoothed_as_in_rfc_6298() -> None:
    trip = RoundTrip(0.1, 0.05)
    trip.take(0.2)
    assert (trip.mean, trip.variation) == pytest.approx((0.1125, 0.0625))


def test_a_meter_forgets_what_is_ten_seconds_old() -> None:
    meter = Meter(0.0)
    for second in range(30):
        meter.add(100 if second < 15 else 20, second + 0.5)
    assert meter.rate(30.0) == pytest.approx(20.0)
    assert meter.total == 15 * 120
    assert meter.rate(1000.0) == 0.0


# ---- settings


def test_a_profile_is_what_is_not_set() -> None:
    assert SwimConfig(profile="local").times() == PROFILES["local"]
    times = SwimConfig(profile="local", probe_interval=2.0, remember=5.0).times()
    assert (times.probe_interval, times.remember) == (2.0, 5.0)
    assert times.gossip_interval == PROFILES["local"].gossip_interval
    assert times.least_timeout <= times.most_timeout
