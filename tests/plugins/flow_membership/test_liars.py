"""No member can speak for another, or harm others by what it says; strangers cost nothing."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gossip_simulation import CLUSTER, Signing
from flow_membership.swim.claims import Claims
from flow_membership.swim.relaying import MOST_WAITING
from flow_membership.swim.syncing import Answer, Ask, Record
from flow_membership.swim.wire import (
    AboutClaim,
    Accusation,
    Ack,
    AliveClaim,
    Claim,
    Forward,
    Forwarded,
    Malformed,
    Ping,
    encode,
    joined,
)
from flowcore.swarm import MemberState
from support import fuzz_swim
from support.fuzz_swim import NOW, Liars

EVE = Claims(CLUSTER, "eve", Signing("eve"))


def told(liars: Liars, *claims: msgspec.Struct) -> None:
    liars.told(joined([encode(claim) for claim in claims]))


def state(liars: Liars) -> MemberState:
    """What ann believes of bob."""
    return liars.ann.beliefs.known["bob"].state


def test_a_claim_about_another_needs_the_signature_of_that_one() -> None:
    liars = Liars()
    as_bob = Claims(CLUSTER, "bob", Signing("eve"))  # eve writes bob's name
    for claim in (
        as_bob.alive(2, "eve:7400", liars.eve.sessions.key, left=False),
        as_bob.alive(2, "bob:7400", liars.bob.sessions.key, left=True),
        as_bob.about(2**40, b"eve tells this"),
        as_bob.accuse("eve", 1, dead=True),
    ):
        told(liars, claim)
    assert liars.ann.beliefs.counts["unproved claims"] == 4
    assert liars.ann.beliefs.known["bob"].state is MemberState.ALIVE
    assert liars.ann.beliefs.known["eve"].state is MemberState.ALIVE


def test_a_claim_of_another_swarm_is_none_here() -> None:
    liars = Liars()
    elsewhere = Claims("elsewhere", "bob", Signing("bob"))
    told(liars, elsewhere.alive(2, "bob:7400", liars.bob.sessions.key, left=True))
    assert liars.ann.beliefs.known["bob"].state is MemberState.ALIVE


@pytest.mark.parametrize("kind", [AliveClaim, AboutClaim, Accusation], ids=lambda one: one.__name__)
def test_a_signature_of_one_kind_of_claim_is_none_of_another(kind: type[Claim]) -> None:
    liars = Liars()
    before = liars.ann.claims.verified
    for claim in (
        EVE.alive(2, "eve:7400", liars.eve.sessions.key, left=True),
        EVE.about(2**40, b"x"),
        EVE.accuse("bob", 1, dead=True),
    ):
        if type(claim) is not kind:
            liars.told(joined([encode(kind(claim.body, claim.signature))]))
    assert liars.ann.claims.verified == before
    assert {one.state for one in liars.ann.beliefs.known.values()} == {MemberState.ALIVE}


def test_nobody_is_accused_of_an_incarnation_that_it_has_not_claimed() -> None:
    """Or one could name one that no refutation can outdo."""
    liars = Liars()
    for incarnation in (2, 2**40):
        told(liars, EVE.accuse("bob", incarnation, dead=True))
    assert liars.ann.beliefs.known["bob"].state is MemberState.ALIVE
    told(liars, EVE.accuse("ann", 2**40, dead=True))
    assert liars.ann.incarnation == 1


def test_a_false_accusation_is_refuted_and_its_accuser_is_shown() -> None:
    liars = Liars()
    told(liars, EVE.accuse("bob", 1, dead=True))
    assert state(liars) is MemberState.DEAD
    assert liars.ann.status(NOW)["accused"]["bob"]["by"] == "eve"
    told(liars, EVE.accuse("ann", 1, dead=False))
    assert liars.ann.incarnation == 2
    claim = liars.bob.claims.alive(2, "bob:7400", liars.bob.sessions.key, left=False)
    liars.bob.oneself.incarnation = 2
    told(liars, claim)
    assert state(liars) is MemberState.ALIVE
    assert liars.ann.status(NOW)["suspicions"]["false_deaths"] == 1


def test_one_accuser_is_one_confirmation() -> None:
    liars = Liars()
    for _ in range(10):
        told(liars, EVE.accuse("bob", 1, dead=False))
    suspicion = liars.ann.beliefs.known["bob"].suspicion
    assert suspicion is not None
    assert suspicion.accusers == {"eve"}


def test_who_says_that_bobs_key_is_its_own_does_not_silence_bob() -> None:
    liars = Liars()
    told(liars, EVE.alive(2, "eve:7400", liars.bob.sessions.key, left=False))
    assert liars.ann.beliefs.counts["stolen keys"] == 1
    datagram = liars.bob.sessions.seal(liars.ann.sessions.key, joined([encode(Ping(1))]))
    assert datagram is not None
    liars.ann.receive(datagram, NOW)
    assert [address for address, _ in liars.ann.take_datagrams()] == ["bob:7400"]


def test_a_member_that_passes_an_answer_on_cannot_make_one() -> None:
    """An indirect probe is sealed from end to end."""
    liars = Liars()
    while "bob" not in liars.ann.prober._probing:
        liars.ann.prober.begin(NOW)
    probe = liars.ann.prober._probing["bob"]
    number = next(iter(liars.ann.prober._waiting))
    forged = liars.eve.sessions.seal(liars.ann.sessions.key, joined([encode(Ack(number))]))
    assert forged is not None
    liars.told(joined([encode(Forwarded(forged))]))
    assert not probe.done


def test_forwarded_datagrams_do_not_nest() -> None:
    liars = Liars()
    inner = joined([encode(Forward("bob", b"sealed")), encode(Forwarded(b"sealed"))])
    sealed = liars.eve.sessions.seal(liars.ann.sessions.key, inner)
    assert sealed is not None
    before = liars.ann.relay.relayed
    liars.told(joined([encode(Forwarded(sealed))]))
    assert liars.ann.relay.relayed == before
    assert liars.ann.refused["malformed"] == 2


def test_what_is_passed_on_is_bounded() -> None:
    liars = Liars()
    for number in range(3 * MOST_WAITING):
        liars.told(joined([encode(Forward("bob", b"", number + 1, 2**40))]))
    assert len(liars.ann.relay._waiting) <= MOST_WAITING
    heap = liars.ann.timers._heap
    assert len(heap) <= MOST_WAITING + 100
    assert max(when for when, _, _ in heap) <= NOW + 60


@given(st.data())
def test_any_change_to_one_message_of_each_kind_is_survived(data: st.DataObject) -> None:
    body = bytearray(fuzz_swim.BODY)
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    fuzz_swim.bodies(bytes(body[: data.draw(st.integers(0, len(body)))]))
    fuzz_swim.bodies(bytes(body))


@pytest.mark.parametrize("seed", ["ASK", "BRING", "ANSWER"])
@given(st.data())
def test_any_change_to_an_exchange_is_survived(seed: str, data: st.DataObject) -> None:
    told = bytearray(getattr(fuzz_swim, seed))
    for _ in range(data.draw(st.integers(1, 6))):
        told[data.draw(st.integers(0, len(told) - 1))] = data.draw(st.integers(0, 255))
    for given_ in (bytes(told), bytes(told[: data.draw(st.integers(0, len(told)))])):
        try:
            fuzz_swim.exchanges(given_)
        except Malformed as error:
            assert str(error)


@given(st.binary(max_size=1500))
def test_any_bytes_of_a_member_are_survived(data: bytes) -> None:
    fuzz_swim.bodies(data)
    with pytest.raises(Malformed):
        fuzz_swim.exchanges(b"\xff" + data)


def test_an_exchange_of_another_swarm_is_refused() -> None:
    liars = Liars()
    ask = msgspec.msgpack.decode(fuzz_swim.ASK, type=Ask)
    other = msgspec.structs.replace(ask, cluster="other")
    assert liars.ann.syncing.unlike(other) == f"this is swarm {CLUSTER!r}, not 'other'"


def test_records_of_one_exchange_are_bounded() -> None:
    liars = Liars()
    taken = msgspec.msgpack.decode(fuzz_swim.BRING, type=Ask).records[0]
    big = msgspec.structs.replace(taken, certificate=bytes(100_000))
    assert len(encode(Answer(1, "", liars.ann.syncing._bounded([big] * 100), []))) < 2**20
    with pytest.raises(Malformed, match="100000 bytes"):
        liars.ann.syncing.take(Record(taken.alive, None, None, bytes(100_000)), "eve", NOW)


def test_memory_is_flat_under_a_flood_of_strangers_and_replays() -> None:
    liars = Liars()
    datagram = liars.eve.sessions.seal(liars.ann.sessions.key, fuzz_swim.BODY)
    assert datagram is not None
    chance = liars.ann._chance

    def flood(count: int) -> None:
        for _ in range(count):
            liars.ann.receive(b"\x01" + chance.randbytes(chance.randint(0, 1600)), NOW)
            liars.ann.receive(datagram, NOW)
            liars.ann.receive(b"\x02" + datagram[1:], NOW)
        liars.settle(liars.ann)

    flood(200)
    tracemalloc.start()
    try:
        flood(200)
        before = tracemalloc.get_traced_memory()[0]
        flood(5000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 10_000
    refused = liars.ann.status(NOW)["refused"]
    assert refused["replayed"] == 5399
    assert refused["version"] == 5400
    inner = 1  # what is passed on within the datagram is a stranger's
    assert refused["stranger"] + refused["garbage"] + refused["too_large"] == 5400 + inner
