"""What a member of a swarm may be told by another member that lies, and what must hold for any bytes."""

from __future__ import annotations

import contextlib
import random

import attrs

from benchmarks.gossip_simulation import CLUSTER, Signing
from flow_membership.swim.claims import Claims
from flow_membership.swim.engine import Swim
from flow_membership.swim.oneself import Own
from flow_membership.swim.settings import SwimConfig
from flow_membership.swim.syncing import Line, Record
from flow_membership.swim.wire import (
    MOST_DATAGRAM,
    Ack,
    Forward,
    Forwarded,
    Malformed,
    Nack,
    Ping,
    encode,
    joined,
)
from flowcore.swarm import MemberState

NOW = 1000.0


def node(name: str) -> Swim:
    own = Own(cluster=CLUSTER, name=name, address=f"{name}:7400")
    chance = random.Random(name)
    secret = chance.randbytes(32)
    config = SwimConfig(profile="local")
    return Swim(config, own, Signing(name), chance, NOW, secret=secret)


@attrs.define(eq=False)
class Liars:
    """Ann, who is lied to by eve; bob is lied about. All three know each other."""

    ann: Swim = attrs.field(factory=lambda: node("ann"))
    bob: Swim = attrs.field(factory=lambda: node("bob"))
    eve: Swim = attrs.field(factory=lambda: node("eve"))

    def __attrs_post_init__(self) -> None:
        self.bob.tell(b"bob tells this", NOW)
        for one in (self.ann, self.bob, self.eve):
            for other in (self.ann, self.bob, self.eve):
                if other is not one:
                    self.record_of(other, one)
            one.gossip.clear()
            self.settle(one)

    @staticmethod
    def record_of(subject: Swim, taker: Swim) -> None:
        ask = subject.syncing.read_ask(subject.syncing.ask())
        taker.syncing.take(ask.records[0], "", NOW)

    @staticmethod
    def settle(one: Swim) -> None:
        """Take what it wants done; nothing is too large."""
        for _, datagram in one.take_datagrams():
            assert len(datagram) <= MOST_DATAGRAM
        one.take_changes()
        one.take_asks()

    def told(self, body: bytes) -> None:
        """Eve seals a body for ann, as a member can."""
        datagram = self.eve.sessions.seal(self.ann.sessions.key, body)
        assert datagram is not None
        self.ann.receive(datagram, NOW)
        self.settle(self.ann)
        self.holds()

    def holds(self) -> None:
        """Of bob ann believes only what bob has signed."""
        known = self.ann.beliefs.known["bob"]
        assert known.incarnation <= self.bob.incarnation
        assert known.key == self.bob.sessions.key
        assert known.about == b"bob tells this"
        assert known.state is not MemberState.LEFT
        assert set(self.ann.beliefs.known) <= {"bob", "eve"}


_LIARS = Liars()


def bodies(data: bytes) -> None:
    """What a member says in a datagram."""
    _LIARS.told(data)


def exchanges(data: bytes) -> None:
    """What a member says in an exchange, asked or as an answer. Raises Malformed."""
    syncing = _LIARS.ann.syncing
    with contextlib.suppress(Malformed):
        _taken(syncing.read_answer(data).records)
    ask = syncing.read_ask(data)
    _taken(ask.records)
    if not syncing.unlike(ask):
        syncing.read_answer(syncing.answer(ask))


def _taken(records: list[Record]) -> None:
    for record in records:
        with contextlib.suppress(Malformed):
            _LIARS.ann.syncing.take(record, "eve", NOW)
    _LIARS.settle(_LIARS.ann)
    _LIARS.holds()


def _eve() -> Claims:
    return Claims(CLUSTER, "eve", Signing("eve"))


def _body() -> bytes:
    claims, key = _eve(), _LIARS.eve.sessions.key
    return joined(
        [
            encode(Ping(1)),
            encode(Ack(2)),
            encode(Forward("bob", b"sealed", 3, 40)),
            encode(Forwarded(b"\x01" + bytes(60))),
            encode(Nack(3)),
            encode(claims.alive(1, "eve:7400", key, left=False)),
            encode(claims.about(7, b"about eve")),
            encode(claims.accuse("bob", 9, dead=True)),
        ]
    )


BODY = _body()
"""One message of each kind."""
ASK = _LIARS.eve.syncing.ask()
BRING = _LIARS.eve.syncing.bring(["bob"])
ANSWER = _LIARS.eve.syncing.answer(_LIARS.ann.syncing.read_ask(_LIARS.ann.syncing.ask()))
LINE = encode(Line("bob", 1, 2, 0, b"", b""))
