"""What this node believes of the others, and by which claims: SWIM sections 4.1 and 4.2.

Claims of a member about itself are ordered by incarnation, which only that member raises. An accusation
counts only for the incarnation that it names, and only if the subject has claimed that one itself: so nobody
can be accused in advance, and a newer claim of the subject always wins.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

import attrs

from flow_membership.swim.claims import Claims, Signing, read_about, read_accused, read_alive
from flow_membership.swim.gossip import Gossip, Weight
from flow_membership.swim.sessions import Sessions
from flow_membership.swim.suspicion import Suspicion, shortest
from flow_membership.swim.timers import Timers
from flow_membership.swim.wire import (
    AboutClaim,
    Accusation,
    Accused,
    Alive,
    AliveClaim,
    encode,
)
from flowcore.swarm import Member, MemberState

MOST_MEMBERS = 4096
"""Members that are remembered at most, the dead with them."""
_IN_FLIGHT = 1.0
"""Seconds for which a datagram of a boot that is gone may still be under way."""
_KEYS = 8
"""Keys of earlier boots that are remembered of a member."""


@attrs.frozen(kw_only=True)
class Rules:
    """The numbers by which members are believed."""

    probe_interval: float
    gossip_interval: float
    suspicion: float
    suspicion_most: float
    confirmations: int
    remember: float


@attrs.define(eq=False)
class Known:
    """A member other than this node, and the claims that say so."""

    name: str
    claim: AliveClaim
    alive: Alive
    state: MemberState
    since: float
    about_claim: AboutClaim | None = None
    version: int = 0
    about: bytes = b""
    accusation: Accusation | None = None
    """Why it is suspected or held for dead: the latest."""
    accused: Accused | None = None
    suspicion: Suspicion | None = None
    answered: bool = False
    """Whether this boot of it has been heard here."""
    certificate: bytes | None = None
    """What proves the claim."""
    rival: tuple[bytes, str, float] | None = None
    """Another boot that speaks in its name: its key, its address, and since when."""
    earlier: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=_KEYS))
    """The keys of its earlier boots."""

    @property
    def incarnation(self) -> int:
        return self.alive.incarnation

    @property
    def address(self) -> str:
        return self.alive.address

    @property
    def key(self) -> bytes:
        return self.alive.key

    def member(self) -> Member:
        return Member(
            name=self.name,
            address=self.address,
            state=self.state,
            incarnation=self.incarnation,
            since=self.since,
            about=self.about,
        )


@attrs.define(eq=False)
class Conflict:
    """Two nodes that go by one name."""

    name: str
    address: str
    """Where the other one is, as it says."""
    times: int
    since: float


class Beliefs:
    """The members, oneself excluded, and the rules by which claims change them."""

    def __init__(
        self,
        rules: Rules,
        name: str,
        claims: Claims,
        signing: Signing,
        sessions: Sessions,
        gossip: Gossip,
        timers: Timers,
    ) -> None:
        self._rules = rules
        self._name = name
        self._claims = claims
        self._signing = signing
        self._sessions = sessions
        self._gossip = gossip
        self._timers = timers
        self.known: dict[str, Known] = {}
        self._present: list[Known] | None = []
        """Who is present; None if it must be looked up anew."""
        self.last_heard = 0.0
        """When any datagram of a member came in."""
        self.revision = 0
        """Another one whenever anything is known that was not."""
        self.changes: list[Member] = []
        """Members that have changed, for the driver to take."""
        self.conflicts: dict[str, Conflict] = {}
        self.counts: Counter[str] = Counter()
        self.on_self: Callable[[AliveClaim, Alive, str, float], None] = (
            lambda _claim, _body, _teller, _now: None
        )
        """Told of claims in this node's own name that are of another boot, and who tells them."""
        self.on_accused: Callable[[Accusation, Accused, str, float], None] = (
            lambda _claim, _body, _teller, _now: None
        )
        """Told of accusations of this node by members, and who tells them."""
        self.on_false_death: Callable[[float], None] = lambda _now: None
        """Told that somebody was held for dead who lives: a cut may have healed."""
        self.on_new: Callable[[str], None] = lambda _name: None
        """Told who has become present."""
        self.on_unproved: Callable[[str, float], None] = lambda _teller, _now: None
        """Told who speaks of somebody whom this node cannot prove or place."""

    # ---- looking

    def present(self) -> Sequence[Known]:
        """Who is alive or suspected."""
        if self._present is None:
            self._present = [one for one in self.known.values() if one.state.present]
        return self._present

    def gone(self) -> Iterator[Known]:
        """Who is dead."""
        return (one for one in self.known.values() if one.state is MemberState.DEAD)

    def count(self) -> int:
        """How many are present, oneself included."""
        return 1 + len(self.present())

    # ---- what a member says of itself

    def hear_alive(self, claim: AliveClaim, teller: str, now: float) -> bool:
        """Take a member's word of itself; whether it was news. Raises Malformed."""
        body = read_alive(claim)
        name = body.name
        if name == self._name:
            if body.key != self._sessions.key:
                self.on_self(claim, body, teller, now)
            return False
        known = self.known.get(name)
        if known is None:
            if body.left or len(self.known) >= MOST_MEMBERS:
                return False
        elif body.incarnation <= known.incarnation:
            if teller == name and body.key != known.key:
                self._rival(known, body, now)
            return False
        if not self._claims.proved(claim, name):
            self._unproved(name, teller, now)
            return False
        if self._sessions.is_others(name, body.key):
            self.counts["stolen keys"] += 1
            return False
        self._sessions.meet(name, body.key)
        state = MemberState.LEFT if body.left else MemberState.ALIVE
        if known is None:
            known = self.known[name] = Known(name, claim, body, state, now)
            known.certificate = self._signing.certificate(name)
            self._told(known, Weight.ALIVE, now)
            return True
        weight = Weight.ALIVE if known.state is MemberState.ALIVE else Weight.REFUTED
        if body.left:
            weight = Weight.GONE
        same = known.key == body.key
        if not same:
            self._reborn(known, body, now)
        elif known.state is MemberState.SUSPECT and not body.left:
            self.counts["false suspicions"] += 1
        elif known.state is MemberState.DEAD and not body.left:
            self.counts["false deaths"] += 1
            self.on_false_death(now)
        moved = known.address != body.address
        known.claim, known.alive = claim, body
        known.certificate = self._signing.certificate(name)
        known.accusation = known.accused = known.suspicion = None
        self._gossip.drop_accusations(name)
        before, known.state = known.state, state
        if before is not state:
            known.since = now
        self._told(known, weight, now, changed=moved or before is not state)
        return True

    def _told(self, known: Known, weight: Weight, now: float, *, changed: bool = True) -> None:
        self._present = None
        self.revision += 1
        self._gossip.put(weight, known.name, "alive", encode(known.claim))
        if changed:
            self.changes.append(known.member())
            if known.state.present:
                self.on_new(known.name)
            else:
                self._forget_later(known, now)

    def _reborn(self, known: Known, body: Alive, now: float) -> None:
        """It has started again. A key that was replaced and is back shows two nodes with one name."""
        if body.key in known.earlier:
            self.conflict(known.name, body.address, now)
        self._sessions.part(known.key)
        known.earlier.append(known.key)
        known.answered = False
        known.rival = None

    def _rival(self, known: Known, body: Alive, now: float) -> None:
        """Another boot than the known one speaks, proved by its certificate, and claims no more than that.

        One that was replaced before is still there. Of another one nobody knows yet whether it is there
        besides, or has started anew without its disk.
        """
        if body.key in known.earlier:
            self.conflict(known.name, body.address, now)
        elif known.rival is None or known.rival[0] != body.key:
            known.rival = (body.key, body.address, now)

    def heard(self, known: Known, now: float) -> None:
        """A member's datagram has come in: so it is there, besides whoever else goes by its name."""
        known.answered = True
        self.last_heard = now
        if known.rival is not None and now - known.rival[2] > _IN_FLIGHT:
            self.conflict(known.name, known.rival[1], now)
            known.rival = None

    def conflict(self, name: str, address: str, now: float) -> None:
        """Two nodes go by this name."""
        one = self.conflicts.setdefault(name, Conflict(name, address, 0, now))
        one.address = address
        one.times += 1
        self.counts["conflicts"] += 1

    def hear_about(self, claim: AboutClaim, teller: str, now: float) -> bool:
        """Take what a member tells; whether it was news. Raises Malformed."""
        body = read_about(claim)
        if body.name == self._name:
            return False
        known = self.known.get(body.name)
        if known is None:
            self.on_unproved(teller, now)
            return False
        if body.version <= known.version:
            return False
        if not self._claims.proved(claim, body.name):
            self._unproved(body.name, teller, now)
            return False
        known.about_claim, known.version = claim, body.version
        self._gossip.put(Weight.ABOUT, known.name, "about", encode(claim))
        if known.about != body.about:
            known.about = body.about
            self.revision += 1
            self.changes.append(known.member())
        return True

    def _unproved(self, name: str, teller: str, now: float) -> None:
        """A claim that its certificate does not prove: unknown, renewed since, or it is a forgery."""
        certain = self._signing.certificate(name) is not None
        self.counts["unproved claims" if certain else "unknown certificates"] += 1
        self.on_unproved(teller, now)

    # ---- what members say of others

    def hear_accusation(self, claim: Accusation, teller: str, now: float) -> bool:
        """Take an accusation; whether it was news. Raises Malformed."""
        body = read_accused(claim)
        if body.subject == self._name:
            if self.is_member(body.accuser):
                self.on_accused(claim, body, teller, now)
            return False
        known, accuser = self.known.get(body.subject), self.known.get(body.accuser)
        if known is None or accuser is None or not accuser.state.present:
            return False  # who is gone itself may be the one that hears nobody
        if body.incarnation > known.incarnation:
            self.on_unproved(teller, now)  # who tells it must have the claim that it is about
            return False
        suspicion = known.suspicion
        if (
            body.incarnation < known.incarnation
            or not known.state.present
            or (
                not body.dead
                and suspicion is not None
                and (body.accuser in suspicion.accusers or not suspicion.open)
            )
        ):
            return False
        if not self._claims.proved(claim, body.accuser):
            self._unproved(body.accuser, teller, now)
            return False
        if body.dead:
            self._buried(known, claim, body, now)
        else:
            self._suspected(known, claim, body, now)
        return True

    def is_member(self, name: str) -> bool:
        return name in self.known or name == self._name

    def suspect(self, known: Known, now: float) -> None:
        """This node itself gets no answer from a member."""
        suspicion = known.suspicion
        if not known.state.present or (
            suspicion is not None and (self._name in suspicion.accusers or not suspicion.open)
        ):
            return
        claim = self._claims.accuse(known.name, known.incarnation, dead=False)
        self._suspected(known, claim, read_accused(claim), now)

    def _suspected(self, known: Known, claim: Accusation, body: Accused, now: float) -> None:
        self._gossip.put(
            Weight.SUSPECTED,
            known.name,
            f"suspected by {body.accuser}",
            encode(claim),
            until=now + self._fresh(),
        )
        if known.suspicion is not None:
            known.suspicion.confirm(body.accuser)
            self.counts["confirmations"] += 1
        else:
            rules, members = self._rules, self.count()
            least = shortest(rules.suspicion, members, rules.probe_interval)
            known.suspicion = Suspicion(
                began=now,
                least=least,
                most=least * rules.suspicion_most,
                wanted=min(rules.confirmations, members - 2),
                accusers={body.accuser},
            )
            known.accusation, known.accused = claim, body
            self.counts["suspicions"] += 1
            self._became(known, MemberState.SUSPECT, now)
        suspicion = known.suspicion
        ends = suspicion.ends(self.last_heard)
        self._timers.at(ends, lambda now: self._ripe(known, suspicion, now))

    def _ripe(self, known: Known, suspicion: Suspicion, now: float) -> None:
        """Hold it for dead if it is still suspected, and long enough."""
        if known.suspicion is not suspicion or self.known.get(known.name) is not known:
            return
        ends = suspicion.ends(self.last_heard)
        if now < ends:
            self._timers.at(ends, lambda now: self._ripe(known, suspicion, now))
            return
        claim = self._claims.accuse(known.name, known.incarnation, dead=True)
        self.counts["declared dead"] += 1
        self._buried(known, claim, read_accused(claim), now)

    def postpone(self, seconds: float) -> None:
        """This node was away for so long: nobody could tell it of a refutation meanwhile."""
        for one in self.known.values():
            if one.suspicion is not None:
                one.suspicion.began += seconds

    def withdraw(self, now: float) -> None:
        """Take back what this node found out alone while it heard nobody: it was its own fault."""
        self._gossip.drop_all_accusations()
        for one in self.known.values():
            if (
                one.accused is not None
                and one.accused.accuser == self._name
                and one.since > self.last_heard
                and one.state in (MemberState.SUSPECT, MemberState.DEAD)
            ):
                one.accusation = one.accused = one.suspicion = None
                self.counts["withdrawn"] += 1
                self._became(one, MemberState.ALIVE, now)
                self.on_new(one.name)

    def _buried(self, known: Known, claim: Accusation, body: Accused, now: float) -> None:
        known.suspicion = None
        known.accusation, known.accused = claim, body
        self._gossip.drop_accusations(known.name)
        self._gossip.put(Weight.GONE, known.name, "dead", encode(claim), until=now + self._fresh())
        self._became(known, MemberState.DEAD, now)
        self._forget_later(known, now)

    def _fresh(self) -> float:
        """Seconds for which an accusation is news: several times what it takes to reach everybody."""
        rules = self._rules
        rounds = self._gossip.times(self.count())
        return rounds * max(rules.gossip_interval, rules.probe_interval)

    def _became(self, known: Known, state: MemberState, now: float) -> None:
        known.state, known.since = state, now
        self._present = None
        self.revision += 1
        self.changes.append(known.member())

    # ---- forgetting

    def _forget_later(self, known: Known, now: float) -> None:
        self._timers.at(now + self._rules.remember, lambda now: self._forget(known, now))

    def _forget(self, known: Known, now: float) -> None:
        if (
            self.known.get(known.name) is known
            and not known.state.present
            and now - known.since >= self._rules.remember - _ROUNDING
        ):
            del self.known[known.name]
            self.revision += 1
            self.conflicts.pop(known.name, None)
            self._sessions.part(known.key)
            self._gossip.drop(known.name, "alive", "about")
            self._gossip.drop_accusations(known.name)


_ROUNDING = math.ulp(1e9)
