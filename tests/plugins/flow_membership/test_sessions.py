"""A datagram that was altered, doubled, or meant for somebody else is refused; who has sent one is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_membership.swim.sessions import OVERHEAD, WINDOW, Peer, Refused, Sessions


def pair(cluster: str = "flow", other: str = "flow") -> tuple[Sessions, Sessions]:
    """Two nodes that know each other."""
    ann, bob = Sessions(cluster, "ann"), Sessions(other, "bob")
    ann.meet("bob", bob.key)
    bob.meet("ann", ann.key)
    return ann, bob


def sealed(sender: Sessions, receiver: Sessions, body: bytes = b"body") -> bytes:
    datagram = sender.seal(receiver.key, body)
    assert datagram is not None
    return datagram


def refused(receiver: Sessions, datagram: bytes) -> str:
    """Why it is refused."""
    with pytest.raises(Refused) as caught:
        receiver.open(datagram)
    assert receiver.refused[caught.value.why] > 0
    return caught.value.why


def test_what_is_sealed_opens_and_says_who_sent_it() -> None:
    ann, bob = pair()
    for sender, receiver in ((ann, bob), (bob, ann)):
        datagram = sealed(sender, receiver)
        assert len(datagram) == len(b"body") + OVERHEAD
        assert b"body" not in datagram
        peer, body = receiver.open(datagram)
        assert (peer.name, body) == ("ann" if sender is ann else "bob", b"body")


def test_each_bit_that_is_changed_is_noticed() -> None:
    ann, bob = pair()
    datagram = sealed(ann, bob, b"some body")
    for at in range(len(datagram) * 8):
        changed = bytearray(datagram)
        changed[at // 8] ^= 1 << at % 8
        expected = "version" if at < 8 else "stranger" if at < 72 else "altered"
        assert refused(bob, bytes(changed)) == expected
    assert bob.open(datagram)[1] == b"some body"


def test_what_is_cut_short_or_goes_on_is_refused() -> None:
    ann, bob = pair()
    datagram = sealed(ann, bob)
    for length in range(len(datagram)):
        assert refused(bob, datagram[:length]) in ("garbage", "altered")
    assert refused(bob, datagram + b"x") == "altered"


def test_nothing_opens_twice() -> None:
    ann, bob = pair()
    datagrams = [sealed(ann, bob, b"%d" % number) for number in range(50)]
    for datagram in datagrams:
        bob.open(datagram)
    for datagram in datagrams:
        assert refused(bob, datagram) == "replayed"


def test_what_comes_back_to_its_sender_is_refused() -> None:
    ann, bob = pair()
    assert refused(ann, sealed(ann, bob)) == "stranger"


def test_what_was_meant_for_another_node_is_refused() -> None:
    ann, bob = pair()
    cid = Sessions("flow", "cid")
    cid.meet("ann", ann.key)
    assert refused(cid, sealed(ann, bob)) == "altered"


def test_what_was_meant_for_another_swarm_is_refused() -> None:
    ann, bob = pair("flow", "other")
    assert refused(bob, sealed(ann, bob)) == "altered"


def test_who_claims_the_key_of_another_cannot_speak_for_it() -> None:
    ann, bob = pair()
    eve = Sessions("flow", "eve")
    eve.meet("bob", bob.key)
    assert bob.is_others("eve", ann.key)
    assert not bob.is_others("ann", ann.key)
    forged = sealed(eve, bob)
    assert refused(bob, forged[:1] + ann.key[:8] + forged[9:]) == "altered"


def test_what_was_recorded_before_a_restart_is_worth_nothing() -> None:
    ann, bob = pair()
    recorded = sealed(ann, bob)
    again = Sessions("flow", "bob")  # the receiver has started again
    again.meet("ann", ann.key)
    assert refused(again, recorded) == "altered"
    ann_again = Sessions("flow", "ann")  # the sender has
    bob.part(ann.key)
    bob.meet("ann", ann_again.key)
    assert refused(bob, recorded) == "stranger"


def test_a_key_of_small_order_makes_no_secret() -> None:
    ann = Sessions("flow", "ann")
    for key in (bytes(32), b"\x01" + bytes(31)):
        ann.meet("eve", key)
        assert ann.seal(key, b"body") is None


def test_strangers_leave_nothing_behind() -> None:
    ann, bob = pair()
    sealed(ann, bob)
    chance = random.Random(1)
    kept = len(bob._by_key), len(bob._known)
    for _ in range(10_000):
        refused(bob, b"\x01" + chance.randbytes(80))
    assert (len(bob._by_key), len(bob._known)) == kept


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=400))
def test_the_window_takes_what_a_set_would_take(counters: list[int]) -> None:
    """As RFC 4303 has it: what is new and not older than the window, once."""
    peer = Peer("ann", b"", None, None)  # type: ignore[arg-type]
    had: set[int] = set()
    for counter in counters:
        fits = counter not in had and counter > max(had, default=-1) - WINDOW
        assert peer.take(counter) is fits
        if fits:
            had.add(counter)


@given(st.binary(max_size=1500))
def test_garbage_is_refused_whatever_it_is(data: bytes) -> None:
    _, bob = pair()
    assert refused(bob, data) in ("garbage", "version", "stranger")
