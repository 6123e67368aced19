"""SWIM with suspicion and Lifeguard, without clock or socket: datagrams and times in, datagrams and changes
out.

Das, Gupta, Motivala: SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol
(2002). Dadgar, Phillips, Currey: Lifeguard: Local Health Awareness for More Accurate Failure Detection
(2018).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from flow_membership.swim.beliefs import Beliefs, Known, Rules
from flow_membership.swim.claims import Claims, Signing
from flow_membership.swim.gossip import Gossip
from flow_membership.swim.health import LocalHealth
from flow_membership.swim.meetings import Meetings
from flow_membership.swim.metering import Meter
from flow_membership.swim.oneself import Oneself, Own
from flow_membership.swim.probing import Prober, ProbeRules
from flow_membership.swim.relaying import Relay
from flow_membership.swim.sessions import OVERHEAD, Refused, Sessions
from flow_membership.swim.settings import SwimConfig
from flow_membership.swim.status import status
from flow_membership.swim.syncing import Syncing
from flow_membership.swim.timers import Timers
from flow_membership.swim.wire import (
    MOST_DATAGRAM,
    MOST_HEAD,
    AboutClaim,
    Accusation,
    Accused,
    Ack,
    Alive,
    AliveClaim,
    Forward,
    Forwarded,
    Malformed,
    Message,
    Nack,
    Ping,
    encode,
    joined,
    read,
)
from flowcore.swarm import Member, MemberState

ROOM = MOST_DATAGRAM - OVERHEAD
"""Bytes of a body at most."""
_BURST = 4
"""Datagrams to one member at a gossip interval at most, while there is much news."""
_SILENCE = 5
"""Probe intervals without any datagram that are a silence."""


class Swim:
    """One member of the swarm.

    Give it what comes (`receive`), and the time when it is `due` (`tick`); then take what it wants sent and
    told (`take_datagrams`, `take_changes`, `take_asks`, `take_reserve`).
    """

    def __init__(
        self,
        config: SwimConfig,
        own: Own,
        signing: Signing,
        chance: random.Random,
        now: float,
        *,
        incarnation: int = 1,
        reserved: int = 2**30,
        secret: bytes | None = None,
        lifeguard: bool = True,
    ) -> None:
        """`incarnation` is the first of this boot; up to `reserved` it may go without asking.

        `secret` is the boot's X25519 key, drawn if it is not given. Without `lifeguard` it is SWIM as in
        2002, to compare with.
        """
        times = config.times()
        self._config = config
        self._times = times
        self._own = own
        self._signing = signing
        self._chance = chance
        self._lifeguard = lifeguard
        self.timers = Timers()
        self.sessions = Sessions(own.cluster, own.name, secret)
        self.claims = Claims(own.cluster, own.name, signing)
        self.gossip = Gossip(config.retransmit)
        self.health = LocalHealth(config.most_health if lifeguard else 0)
        rules = Rules(
            probe_interval=times.probe_interval,
            gossip_interval=times.gossip_interval,
            suspicion=times.suspicion,
            suspicion_most=times.suspicion_most,
            confirmations=config.confirmations if lifeguard else 0,
            remember=times.remember,
        )
        self.beliefs = Beliefs(
            rules, own.name, self.claims, signing, self.sessions, self.gossip, self.timers
        )
        self.beliefs.on_self = self._named_as_i
        self.beliefs.on_accused = self._accused
        self.beliefs.on_unproved = self._puzzled
        self.oneself = Oneself(
            own,
            signing,
            self.claims,
            self.sessions,
            self.gossip,
            self.beliefs,
            times,
            incarnation=incarnation,
            reserved=reserved,
            now=now,
        )
        self.meetings = Meetings(own, self.beliefs, self.timers, times, chance, self._try)
        self.beliefs.on_false_death = self.meetings.soon
        self.prober = Prober(
            ProbeRules(
                interval=times.probe_interval,
                least_timeout=times.least_timeout,
                most_timeout=times.most_timeout,
                indirect=config.indirect_probes,
            ),
            self.beliefs,
            self.health,
            self.timers,
            chance,
            self,
            self._silent,
        )
        self.beliefs.on_new = self.prober.add
        self.relay = Relay(self.timers, self._nack, nacks=lifeguard)
        self.syncing = Syncing(
            own.cluster, self.beliefs, signing, self.oneself.record, self._tell_dead
        )
        self._datagrams: list[tuple[str, bytes]] = []
        self._now = now
        self.refutations = 0
        self.stalls = 0
        self.silences = 0
        self.sent = Meter(now)
        self.received = Meter(now)
        self.refused = self.sessions.refused
        self.timers.at(now + chance.random() * times.probe_interval, self._probe)
        self.timers.at(now + chance.random() * times.gossip_interval, self._gossip_out)
        self.timers.at(now + self.meetings.about(times.sync_interval), self._sync)
        self.timers.at(now, self._knock)

    # ---- what comes

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram has come, from wherever."""
        self._now = max(self._now, now)
        self.received.add(len(datagram), now)
        if len(datagram) > MOST_DATAGRAM:
            self.refused["too large"] += 1
            return
        self._opened(datagram, now, None)

    def _opened(self, datagram: bytes, now: float, helper: Known | None) -> None:
        try:
            peer, body = self.sessions.open(datagram)
            found = read(body)
        except Refused:
            return
        except Malformed:
            self.refused["malformed"] += 1
            return
        self.refused["malformed"] += found.malformed
        self.beliefs.counts["unknown messages"] += found.unknown
        sender = self.beliefs.known.get(peer.name)
        if sender is None or sender.key != peer.key:
            self.refused["stranger"] += 1
            return
        if self._lifeguard:
            self._heard_again(sender, now)
        self.beliefs.heard(sender, now)
        was_dead = sender.state is MemberState.DEAD
        answers: list[bytes] = []
        for message in found.messages:
            try:
                self._take(message, sender, helper, answers, now)
            except Malformed:
                self.refused["malformed"] += 1
        if was_dead and sender.state.present:
            self.meetings.ask(sender.address, sender.name, now)  # what else has each missed?
        if answers and helper is None:
            self._send(sender, answers, now)
        elif answers and helper is not None:
            packet = self.sessions.seal(sender.key, joined(answers))
            if packet is not None:
                self._send(helper, [encode(Forward(sender.name, packet))], now)

    def _heard_again(self, sender: Known, now: float) -> None:
        """If nobody was heard for long, this node was slow or cut off, and what it thought of others
        meanwhile says nothing about them."""
        before = self.beliefs.last_heard
        usual = self._times.probe_interval * self.health.factor  # it asks no more often itself
        if before and now - before > _SILENCE * usual:
            self.silences += 1
            self.health.heard_again()
            self.prober.void()
            self.beliefs.withdraw(now)
            self.beliefs.postpone(now - before)
            self.meetings.ask(sender.address, sender.name, now)

    def _take(
        self,
        message: Message,
        sender: Known,
        helper: Known | None,
        answers: list[bytes],
        now: float,
    ) -> None:
        teller = sender.name
        match message:
            case Ping():
                answers.append(encode(Ack(message.number)))
            case Ack():
                self.prober.acknowledged(teller, message.number, now)
            case AliveClaim():
                self.beliefs.hear_alive(message, teller, now)
            case AboutClaim():
                self.beliefs.hear_about(message, teller, now)
            case Accusation():
                self.beliefs.hear_accusation(message, teller, now)
            case Nack():
                self.prober.nacked(teller, message.number)
            case Forward() if helper is None:
                to = self.beliefs.known.get(message.to)
                if to is not None and to.state is not MemberState.LEFT:
                    self.relay.passing(teller, message, now)
                    self._send(to, [encode(Forwarded(message.packet))], now)
            case Forwarded() if helper is None:
                self._opened(message.packet, now, sender)
            case _:
                self.refused["malformed"] += 1  # a forwarded datagram within a forwarded one

    # ---- what goes

    def _send(self, to: Known, messages: Sequence[bytes], now: float) -> None:
        """A datagram, filled with news; who is accused is told first (Lifeguard's buddy system)."""
        parts = list(messages)
        urgent = b""
        if self._lifeguard and to.accusation is not None:
            urgent = encode(to.accusation)
            parts.append(urgent)
        room = ROOM - MOST_HEAD - sum(map(len, parts))
        if room < 0:
            self.beliefs.counts["too large to send"] += 1
            return
        parts += self.gossip.fill(room, self.beliefs.count(), now, urgent)
        datagram = self.sessions.seal(to.key, joined(parts))
        if datagram is not None:
            self.sent.add(len(datagram), now)
            self._datagrams.append((to.address, datagram))

    def ping(self, target: Known, number: int) -> None:
        self._send(target, [encode(Ping(number))], self._now)

    def ping_by(self, helper: Known, target: Known, number: int, wait: float) -> None:
        parts = [encode(Ping(number))]
        if self._lifeguard and target.accusation is not None:
            parts.append(encode(target.accusation))
        packet = self.sessions.seal(target.key, joined(parts))
        if packet is not None:
            forward = Forward(target.name, packet, number, int(wait * 1000))
            self._send(helper, [encode(forward)], self._now)

    def _nack(self, name: str, message: bytes) -> None:
        known = self.beliefs.known.get(name)
        if known is not None:
            self._send(known, [message], self._now)

    def take_datagrams(self) -> list[tuple[str, bytes]]:
        """What is to be sent: addresses and datagrams."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_changes(self) -> list[Member]:
        """Members that are new or have changed, in order."""
        taken, self.beliefs.changes = self.beliefs.changes, []
        return taken

    def take_asks(self) -> dict[str, str]:
        """Addresses to compare everything with (`syncing`), and whom they are thought to be; perhaps ""."""
        return self.meetings.take()

    def take_reserve(self) -> int | None:
        """Up to which incarnation this node must be allowed to go, on disk: then tell `reserve`."""
        return self.oneself.wants

    # ---- time

    @property
    def due(self) -> float:
        """When `tick` is wanted next."""
        return self.timers.due

    def tick(self, now: float) -> None:
        """Do what is due. If that is late, this node was away, and nobody is to blame for what it missed."""
        late = now - self.timers.due
        if self._lifeguard and late > self._times.least_timeout:
            self.stalls += 1
            self.health.late()
            self.prober.void()
            self.beliefs.postpone(late)
        self._now = now
        self.timers.run(now)

    def _probe(self, now: float) -> None:
        if self.oneself.left:
            return
        self.timers.at(now + self._times.probe_interval * self.health.factor, self._probe)
        self.prober.begin(now)

    def _gossip_out(self, now: float) -> None:
        self.timers.at(now + self._times.gossip_interval, self._gossip_out)
        if not len(self.gossip):
            return
        others = self.beliefs.present()
        for one in self._chance.sample(others, min(self._config.fanout, len(others))):
            for _ in range(min(_BURST, 1 + self.gossip.waiting // ROOM)):
                if len(self.gossip):
                    self._send(one, [], now)

    def _sync(self, now: float) -> None:
        self.timers.at(now + self.meetings.about(self._times.sync_interval), self._sync)
        present = {one.name for one in self.beliefs.present()}
        self.oneself.renew()
        self.meetings.at_random(now)
        self.prober.forget(present)
        self.meetings.forget(now)

    def _knock(self, now: float) -> None:
        self.timers.at(now + self.meetings.about(self._times.knock_interval), self._knock)
        self.meetings.knock(now)

    # ---- whom to compare with

    def _puzzled(self, teller: str, now: float) -> None:
        known = self.beliefs.known.get(teller)
        if known is not None:
            self.meetings.ask(known.address, teller, now)

    def _silent(self, target: Known, now: float) -> None:
        """It has never said a word: perhaps it does not know this node yet, or no datagrams get through."""
        self.meetings.insist(target.address, target.name, now)

    def met(self, address: str, name: str, now: float) -> None:
        """An exchange with an address has shown who is there, by certificate: it is alive."""
        del now
        self.meetings.met(address, name)
        self.prober.heard(name)

    def _try(self, known: Known, now: float) -> None:
        self._send(known, [encode(Ping(0))], now)

    def _tell_dead(self, known: Known, accusation: Accusation) -> None:
        """Somebody else holds a member for dead, and this node does not: let it speak for itself."""
        self._send(known, [encode(Ping(0)), encode(accusation)], self._now)

    # ---- oneself

    @property
    def incarnation(self) -> int:
        return self.oneself.incarnation

    def me(self) -> Member:
        """This node, as it tells others."""
        return self.oneself.member()

    def members(self) -> dict[str, Member]:
        """Everybody known, by name, in order."""
        found = {one.name: one.member() for one in self.beliefs.known.values()}
        found[self._own.name] = self.me()
        return dict(sorted(found.items()))

    def tell(self, about: bytes, now: float) -> None:
        """This is what this node tells of itself from now on. Raises ValueError."""
        self._now = max(self._now, now)
        self.oneself.tell(about)

    def reserve(self, upto: int, now: float) -> None:
        """So many incarnations are this boot's, on disk: no later one begins below."""
        self._now = max(self._now, now)
        self.oneself.reserve(upto)

    def leave(self, now: float) -> None:
        """Tell everybody that this node goes. It answers on, and is suspected by nobody meanwhile."""
        self._now = max(self._now, now)
        if self.oneself.leave(now):
            self.prober.void()
            self.meetings.end()
        claim = encode(self.oneself.claim)
        for one in self.beliefs.present():
            self._send(one, [claim], now)

    def _accused(self, claim: Accusation, accused: Accused, teller: str, now: float) -> None:
        """Somebody suspects this node, or holds it for dead: refute it (SWIM 4.2)."""
        if self.oneself.left or accused.incarnation > self.incarnation:
            return
        if accused.incarnation < self.incarnation:
            known = self.beliefs.known.get(teller)  # it has missed that this is refuted
            if known is not None:
                self._send(known, [encode(self.oneself.claim)], now)
        elif self.claims.proved(claim, accused.accuser):
            self.health.refuted()
            self.refutations += 1
            self.oneself.refute()

    def _named_as_i(self, claim: AliveClaim, body: Alive, teller: str, now: float) -> None:
        """Another boot claims this node's name."""
        if body.incarnation < self.incarnation or self.oneself.left:
            return
        if self.claims.proved(claim, self._own.name):
            self.oneself.outdo(body, now)
        else:
            self._puzzled(teller, now)  # its certificate is another one, which the teller has

    # ---- what is measured

    def status(self, now: float) -> dict[str, Any]:
        """What was measured so far; times in seconds."""
        return status(self, now)
