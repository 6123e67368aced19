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

import attrs

from flow_membership.incarnations import RESERVE
from flow_membership.swim.beliefs import Beliefs, Known, Rules
from flow_membership.swim.claims import Claims, Signing
from flow_membership.swim.gossip import Gossip, Weight
from flow_membership.swim.health import LocalHealth
from flow_membership.swim.metering import Meter
from flow_membership.swim.probing import Prober, ProbeRules
from flow_membership.swim.relaying import Relay
from flow_membership.swim.sessions import OVERHEAD, Refused, Sessions
from flow_membership.swim.settings import SwimConfig
from flow_membership.swim.syncing import Line, Record, Syncing, mark
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
from flowcore.swarm import MOST_ABOUT, Member, MemberState

ROOM = MOST_DATAGRAM - OVERHEAD
"""Bytes of a body at most."""
_BURST = 4
"""Datagrams to one member at a gossip interval at most, while there is much news."""
_VERSIONS = 20
"""Bits of an `about` version below the incarnation that its boot began with."""
_SEED_BACKOFF = 16
_ALWAYS = 1e18
_MOST_TWINS = 16
_SILENCE = 5
"""Probe intervals without any datagram that are a silence."""


@attrs.frozen(kw_only=True)
class Own:
    """Who this node is."""

    cluster: str
    name: str
    address: str
    seeds: tuple[str, ...] = ()


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
        self.beliefs.on_false_death = self._compare_soon
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
        self.syncing = Syncing(own.cluster, self.beliefs, signing, self._myself, self._tell_dead)
        self._datagrams: list[tuple[str, bytes]] = []
        self._asks: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._seeds: dict[str, str] = dict.fromkeys(own.seeds, "")
        self._seed_waits: dict[str, tuple[float, float]] = {}
        self._now = now
        self.incarnation = incarnation
        self._first = incarnation
        self._reserved = reserved
        self._wanted = 0
        self._left = False
        self._comparing = False
        self._twins: dict[bytes, int] = {}
        self._quiet = (0.0, times.probe_interval)
        self._certificate = signing.certificate(own.name)
        self._about = b""
        self._version = incarnation << _VERSIONS
        self._about_claim: AboutClaim | None = None
        self._claim = self.claims.alive(incarnation, own.address, self.sessions.key, left=False)
        self._since = now
        self.refutations = 0
        self.stalls = 0
        self.silences = 0
        self.sent = Meter(now)
        self.received = Meter(now)
        self.refused = self.sessions.refused
        self._begin(now)

    def _begin(self, now: float) -> None:
        times, chance = self._times, self._chance
        self.gossip.put(Weight.ALIVE, self._own.name, "alive", encode(self._claim))
        self.beliefs.changes.append(self.me())
        self.timers.at(now + chance.random() * times.probe_interval, self._probe)
        self.timers.at(now + chance.random() * times.gossip_interval, self._gossip_out)
        self.timers.at(now + self._about_every(times.sync_interval), self._sync)
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
            self._ask(sender.address, sender.name, now)  # what else has each missed?
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
            self._ask(sender.address, sender.name, now)

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
        taken, self._asks = self._asks, {}
        return taken

    def take_reserve(self) -> int | None:
        """Up to which incarnation this node must be allowed to go, on disk: then tell `reserve`."""
        if self._wanted:
            return self._wanted + RESERVE
        if self.incarnation + RESERVE // 2 > self._reserved:
            return self.incarnation + RESERVE
        return None

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
        if self._left:
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
        self.timers.at(now + self._about_every(self._times.sync_interval), self._sync)
        others = self.beliefs.present()
        certificate = self._signing.certificate(self._own.name)
        if certificate != self._certificate and not self._left:
            # renewed: what the old one proves, others cannot check for long
            self._certificate = certificate
            self._raise(self.incarnation + 1)
            if self._about_claim is not None:
                self._tell_anew(self._version + 1)
        self._compare(now)
        self.prober.forget({one.name for one in others})
        before = now - self._times.sync_interval
        self._asked = {at: when for at, when in self._asked.items() if when > before}

    def _compare_soon(self, now: float) -> None:
        """After a cut has healed, much is news at once, and here or there one misses some of it."""
        if not self._comparing:
            self._comparing = True
            self.timers.at(now + self._about_every(self._times.knock_interval), self._compare)

    def _compare(self, now: float) -> None:
        self._comparing = False
        others = self.beliefs.present()
        if others and not self._left:
            one = self._chance.choice(others)
            self._ask(one.address, one.name, now)

    def _knock(self, now: float) -> None:
        """Is one of the dead there again, or a seed? The fewer dead, the rarer each asks: together, they
        ask about once in an interval."""
        self.timers.at(now + self._about_every(self._times.knock_interval), self._knock)
        if self._left:
            return
        dead = list(self.beliefs.gone())
        if dead and self._chance.random() < len(dead) / self.beliefs.count():
            self._send(self._chance.choice(dead), [encode(Ping(0))], now)
        here = {self._own.address, *(one.address for one in self.beliefs.present())}
        for seed, name in self._seeds.items():
            known = self.beliefs.known.get(name)
            if seed in here or name == self._own.name or (known and known.state.present):
                self._seed_waits.pop(seed, None)
                continue
            again, wait = self._seed_waits.get(seed, (0.0, self._times.knock_interval))
            if now >= again:
                self._seed_waits[seed] = (
                    now + wait * self._chance.uniform(0.5, 1),
                    min(wait * 2, self._times.knock_interval * _SEED_BACKOFF),
                )
                self._ask(seed, name, now)

    def _about_every(self, seconds: float) -> float:
        return seconds * self._chance.uniform(0.75, 1.25)

    # ---- whom to compare with

    def _ask(self, address: str, name: str, now: float) -> None:
        """Want an exchange, unless there was one just now."""
        if now - self._asked.get(address, -_ALWAYS) >= self._times.knock_interval / 2:
            self._asked[address] = now
            self._asks[address] = name

    def _puzzled(self, teller: str, now: float) -> None:
        known = self.beliefs.known.get(teller)
        if known is not None:
            self._ask(known.address, teller, now)

    def _silent(self, target: Known, now: float) -> None:
        """It has never said a word: perhaps it does not know this node yet, or no datagrams get through."""
        self._asked[target.address] = now
        self._asks[target.address] = target.name

    def met(self, address: str, name: str, now: float) -> None:
        """An exchange with an address has shown who is there, by certificate: it is alive."""
        del now
        if address in self._seeds:
            self._seeds[address] = name
            self._seed_waits.pop(address, None)
        self.prober.heard(name)

    def _tell_dead(self, known: Known, accusation: Accusation) -> None:
        """Somebody else holds a member for dead, and this node does not: let it speak for itself."""
        self._send(known, [encode(Ping(0)), encode(accusation)], self._now)

    # ---- oneself

    def me(self) -> Member:
        """This node, as it tells others."""
        return Member(
            name=self._own.name,
            address=self._own.address,
            state=MemberState.LEFT if self._left else MemberState.ALIVE,
            incarnation=self.incarnation,
            since=self._since,
            about=self._about,
        )

    def members(self) -> dict[str, Member]:
        """Everybody known, by name, in order."""
        found = {one.name: one.member() for one in self.beliefs.known.values()}
        found[self._own.name] = self.me()
        return dict(sorted(found.items()))

    def _myself(self) -> tuple[Line, Record]:
        certificate = self._signing.certificate(self._own.name)
        left = 3 if self._left else 0
        line = Line(
            self._own.name,
            self.incarnation,
            left,
            self._version,
            mark(certificate),
            self.sessions.key[:8],
        )
        return line, Record(self._claim, self._about_claim, None, certificate or b"")

    def tell(self, about: bytes, now: float) -> None:
        """This is what this node tells of itself from now on. Raises ValueError."""
        if len(about) > MOST_ABOUT:
            raise ValueError(f"{len(about)} bytes to tell (expected at most {MOST_ABOUT})")
        if about != self._about:
            self._about = about
            self.beliefs.revision += 1
            self._tell_anew(self._version + 1)
            self.beliefs.changes.append(self.me())
        self._now = max(self._now, now)

    def _tell_anew(self, version: int) -> None:
        self._version = version
        self._about_claim = self.claims.about(version, self._about)
        self.gossip.put(Weight.ABOUT, self._own.name, "about", encode(self._about_claim))

    def _accused(self, claim: Accusation, accused: Accused, teller: str, now: float) -> None:
        """Somebody suspects this node, or holds it for dead: refute it (SWIM 4.2)."""
        if self._left or accused.incarnation > self.incarnation:
            return
        if accused.incarnation < self.incarnation:
            known = self.beliefs.known.get(teller)  # it has missed that this is refuted
            if known is not None:
                self._send(known, [encode(self._claim)], now)
        elif self.claims.proved(claim, accused.accuser):
            self.health.refuted()
            self.refutations += 1
            self._raise(self.incarnation + 1)

    def _named_as_i(self, claim: AliveClaim, body: Alive, teller: str, now: float) -> None:
        """Another boot claims this node's name: an earlier one, or there are two of them.

        An earlier one does not answer. One that claims more after this node has outdone it is alive.
        """
        if body.incarnation < self.incarnation or self._left:
            return
        if not self.claims.proved(claim, self._own.name):
            self._puzzled(teller, now)  # its certificate is another one, which the teller has
            return
        outdone = self._twins.get(body.key)
        twin = outdone is not None and body.incarnation > outdone
        if twin:
            self.beliefs.conflict(self._own.name, body.address, now)
        until, wait = self._quiet
        if twin:
            if now < until:  # or the two would outdo each other as fast as they can
                return
            self._quiet = (now + wait, min(wait * 2, self._times.sync_interval))
        self._twins[body.key] = body.incarnation + 1
        while len(self._twins) > _MOST_TWINS:
            del self._twins[next(iter(self._twins))]
        self._raise(body.incarnation + 1)
        if self._about_claim is not None:
            self._tell_anew(max(self._version + 1, self.incarnation << _VERSIONS))

    def _raise(self, incarnation: int) -> None:
        """Claim to be alive in a newer incarnation, as soon as it is reserved."""
        if incarnation > self._reserved:
            self._wanted = max(self._wanted, incarnation)
            return
        self.incarnation = incarnation
        self._claim_anew(Weight.REFUTED)

    def _claim_anew(self, weight: Weight) -> None:
        own = self._own
        self.beliefs.revision += 1
        self._claim = self.claims.alive(
            self.incarnation, own.address, self.sessions.key, left=self._left
        )
        self.gossip.put(weight, own.name, "alive", encode(self._claim))

    def reserve(self, upto: int, now: float) -> None:
        """So many incarnations are this boot's, on disk: no later one begins below."""
        self._now = max(self._now, now)
        self._reserved = max(self._reserved, upto)
        if self._wanted and self._wanted <= self._reserved:
            wanted, self._wanted = self._wanted, 0
            if wanted > self.incarnation:
                self._raise(wanted)

    def leave(self, now: float) -> None:
        """Tell everybody that this node goes. It answers on, and is suspected by nobody meanwhile."""
        self._now = max(self._now, now)
        if not self._left:
            self._left = True
            self._since = now
            self.incarnation += 1
            self._claim_anew(Weight.GONE)
            self.beliefs.changes.append(self.me())
            self.prober.void()
        claim = encode(self._claim)
        for one in self.beliefs.present():
            self._send(one, [claim], now)

    # ---- what is measured

    def status(self, now: float) -> dict[str, Any]:
        """What was measured so far; times in seconds."""
        beliefs, prober, counts = self.beliefs, self.prober, self.beliefs.counts
        trips = {
            name: trip.mean for name, trip in sorted(prober.trips.items()) if name in beliefs.known
        }
        states = [one.state for one in beliefs.known.values()]
        return {
            "members": {state.value: states.count(state) for state in MemberState},
            "incarnation": self.incarnation,
            "health": {
                "score": self.health.score,
                "worst": self.health.worst,
                "stalls": self.stalls,
                "silences": self.silences,
            },
            "probes": {
                "begun": prober.begun,
                "answered": prober.answered,
                "failed": prober.failed,
                "indirect": prober.indirect,
                "late_answers": prober.late,
                "passed_on": self.relay.relayed,
            },
            "rtt": {
                "mean": round(sum(trips.values()) / len(trips), 6) if trips else None,
                "members": {name: round(mean, 6) for name, mean in trips.items()},
            },
            "suspicions": {
                "begun": counts["suspicions"],
                "confirmations": counts["confirmations"],
                "false": counts["false suspicions"],
                "declared_dead": counts["declared dead"],
                "false_deaths": counts["false deaths"],
                "withdrawn": counts["withdrawn"],
                "refuted_here": self.refutations,
            },
            "only_exchanges": sorted(one.name for one in beliefs.present() if not one.answered),
            "news": {"waiting": len(self.gossip), "expired": self.gossip.expired},
            "accused": {
                one.name: {"by": one.accused.accuser, "since": round(now - one.since, 3)}
                for one in sorted(beliefs.known.values(), key=lambda one: one.name)
                if one.accused is not None
            },
            "conflicts": {
                one.name: {"address": one.address, "times": one.times}
                for one in beliefs.conflicts.values()
            },
            "refused": {
                why: self.refused[why]
                for why in ("garbage", "version", "stranger", "altered", "replayed")
            }
            | {
                "too_large": self.refused["too large"],
                "malformed": self.refused["malformed"],
                "unknown_messages": counts["unknown messages"],
                "unproved_claims": counts["unproved claims"],
                "unknown_certificates": counts["unknown certificates"],
                "certificates": counts["refused certificates"],
                "stolen_keys": counts["stolen keys"],
            },
            "signatures_verified": self.claims.verified,
            "bytes": {
                "sent": self.sent.total,
                "received": self.received.total,
                "sent_per_second": round(self.sent.rate(now), 1),
                "received_per_second": round(self.received.rate(now), 1),
            },
        }
