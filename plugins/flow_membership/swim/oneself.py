"""What a node tells of itself: that it is alive, in which incarnation, and what others are to know of it."""

from __future__ import annotations

import attrs

from flow_membership.incarnations import RESERVE
from flow_membership.swim.beliefs import Beliefs
from flow_membership.swim.claims import Claims, Signing
from flow_membership.swim.gossip import Gossip, Weight
from flow_membership.swim.sessions import Sessions
from flow_membership.swim.settings import Times
from flow_membership.swim.syncing import Line, Record, mark
from flow_membership.swim.wire import AboutClaim, Alive, encode
from flowcore.swarm import MOST_ABOUT, Member, MemberState

_VERSIONS = 20
"""Bits of an `about` version below the incarnation that its boot began with."""
_MOST_TWINS = 16


@attrs.frozen(kw_only=True)
class Own:
    """Who this node is."""

    cluster: str
    name: str
    address: str
    seeds: tuple[str, ...] = ()


class Oneself:
    """This node as a member: it alone raises its incarnation (SWIM 4.2), to what is reserved on disk."""

    def __init__(
        self,
        own: Own,
        signing: Signing,
        claims: Claims,
        sessions: Sessions,
        gossip: Gossip,
        beliefs: Beliefs,
        times: Times,
        *,
        incarnation: int,
        reserved: int,
        now: float,
    ) -> None:
        """`incarnation` is the first of this boot; up to `reserved` it may go without asking."""
        self._own = own
        self._signing = signing
        self._claims = claims
        self._sessions = sessions
        self._gossip = gossip
        self._beliefs = beliefs
        self.incarnation = incarnation
        self.left = False
        self._reserved = reserved
        self._wanted = 0
        self._since = now
        self._certificate = signing.certificate(own.name)
        self._about = b""
        self._version = incarnation << _VERSIONS
        self._about_claim: AboutClaim | None = None
        self.claim = claims.alive(incarnation, own.address, sessions.key, left=False)
        self._twins: dict[bytes, int] = {}
        self._quiet = (0.0, times.probe_interval)
        self._most_quiet = times.sync_interval
        gossip.put(Weight.ALIVE, own.name, "alive", encode(self.claim))
        beliefs.changes.append(self.member())

    # ---- as others see it

    def member(self) -> Member:
        """This node, as it tells others."""
        return Member(
            name=self._own.name,
            address=self._own.address,
            state=MemberState.LEFT if self.left else MemberState.ALIVE,
            incarnation=self.incarnation,
            since=self._since,
            about=self._about,
        )

    def record(self) -> tuple[Line, Record]:
        """This node in an exchange."""
        certificate = self._signing.certificate(self._own.name)
        line = Line(
            self._own.name,
            self.incarnation,
            3 if self.left else 0,
            self._version,
            mark(certificate),
            self._sessions.key[:8],
        )
        return line, Record(self.claim, self._about_claim, None, certificate or b"")

    # ---- what it tells anew

    def tell(self, about: bytes) -> None:
        """This is what this node tells of itself from now on. Raises ValueError."""
        if len(about) > MOST_ABOUT:
            raise ValueError(f"{len(about)} bytes to tell (expected at most {MOST_ABOUT})")
        if about != self._about:
            self._about = about
            self._beliefs.revision += 1
            self._tell_anew(self._version + 1)
            self._beliefs.changes.append(self.member())

    def refute(self) -> None:
        """Claim to be alive in the next incarnation."""
        self.rise(self.incarnation + 1)

    def renew(self) -> None:
        """Claim all anew with a new certificate: what the old one proves, others cannot check for long."""
        certificate = self._signing.certificate(self._own.name)
        if certificate != self._certificate and not self.left:
            self._certificate = certificate
            self.rise(self.incarnation + 1)
            if self._about_claim is not None:
                self._tell_anew(self._version + 1)

    def outdo(self, other: Alive, now: float) -> None:
        """Another boot claims this node's name: an earlier one, or there are two of them.

        An earlier one does not answer. One that claims more after this node has outdone it is alive.
        """
        outdone = self._twins.get(other.key)
        if outdone is not None and other.incarnation > outdone:
            self._beliefs.conflict(self._own.name, other.address, now)
            until, wait = self._quiet
            if now < until:  # or the two would outdo each other as fast as they can
                return
            self._quiet = (now + wait, min(wait * 2, self._most_quiet))
        self._twins[other.key] = other.incarnation + 1
        while len(self._twins) > _MOST_TWINS:
            del self._twins[next(iter(self._twins))]
        self.rise(other.incarnation + 1)
        if self._about_claim is not None:
            self._tell_anew(max(self._version + 1, self.incarnation << _VERSIONS))

    def leave(self, now: float) -> bool:
        """Tell everybody that this node goes; whether it had not yet."""
        if self.left:
            return False
        self.left = True
        self._since = now
        self.incarnation += 1
        self._claim_anew(Weight.GONE)
        self._beliefs.changes.append(self.member())
        return True

    # ---- incarnations on disk

    @property
    def wants(self) -> int | None:
        """Up to which incarnation this node must be allowed to go, on disk; None if it has enough."""
        if self._wanted:
            return self._wanted + RESERVE
        if self.incarnation + RESERVE // 2 > self._reserved:
            return self.incarnation + RESERVE
        return None

    def reserve(self, upto: int) -> None:
        """So many incarnations are this boot's, on disk: no later one begins below."""
        self._reserved = max(self._reserved, upto)
        if self._wanted and self._wanted <= self._reserved:
            wanted, self._wanted = self._wanted, 0
            if wanted > self.incarnation:
                self.rise(wanted)

    def rise(self, incarnation: int) -> None:
        """Claim to be alive in a newer incarnation, as soon as it is reserved."""
        if incarnation > self._reserved:
            self._wanted = max(self._wanted, incarnation)
            return
        self.incarnation = incarnation
        self._claim_anew(Weight.REFUTED)

    def _claim_anew(self, weight: Weight) -> None:
        own = self._own
        self._beliefs.revision += 1
        self.claim = self._claims.alive(
            self.incarnation, own.address, self._sessions.key, left=self.left
        )
        self._gossip.put(weight, own.name, "alive", encode(self.claim))

    def _tell_anew(self, version: int) -> None:
        self._version = version
        self._about_claim = self._claims.about(version, self._about)
        self._gossip.put(Weight.ABOUT, self._own.name, "about", encode(self._about_claim))
