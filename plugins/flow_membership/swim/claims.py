"""Claims: what a member says of itself or of another, signed by who says it, whoever passes it on.

What is signed: the kind of claim, the swarm's name, the claim's body. Bodies are kept and passed on as they
came, so that a field that a newer version adds is still proved by its signature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flow_membership.incarnations import MOST_INCARNATION
from flow_membership.swim.sessions import KEY, VERSION
from flow_membership.swim.wire import (
    MOST_NAME,
    About,
    AboutClaim,
    Accusation,
    Accused,
    Alive,
    AliveClaim,
    Claim,
    Malformed,
    body_of,
    encode,
)
from flowcore.swarm import MOST_ABOUT

SIGNATURE = 64


class Signing(Protocol):
    """Who signs here, and who has signed elsewhere: part of `SwarmPort`, where each is described."""

    def sign(self, data: bytes) -> bytes: ...
    def verify(self, name: str, data: bytes, signature: bytes) -> bool: ...
    def certificate(self, name: str) -> bytes | None: ...
    def learn(self, certificate: bytes) -> str | None: ...


class Claims:
    """Makes this node's claims, and tells whether others' are theirs."""

    def __init__(self, cluster: str, name: str, signing: Signing) -> None:
        told = cluster.encode()
        length = len(told).to_bytes(2, "big")
        self._before: dict[type[Claim], bytes] = {
            kind: b"flow swim " + word + length + told
            for kind, word in (
                (AliveClaim, b"alive"),
                (AboutClaim, b"about"),
                (Accusation, b"accused"),
            )
        }
        self._name = name
        self._signing = signing
        self.verified = 0

    # ---- making

    def alive(self, incarnation: int, address: str, key: bytes, *, left: bool) -> AliveClaim:
        body = encode(Alive(self._name, incarnation, left, address, key, VERSION, VERSION))
        return AliveClaim(body, self._signed(AliveClaim, body))

    def about(self, version: int, about: bytes) -> AboutClaim:
        body = encode(About(self._name, version, about))
        return AboutClaim(body, self._signed(AboutClaim, body))

    def accuse(self, subject: str, incarnation: int, *, dead: bool) -> Accusation:
        body = encode(Accused(self._name, subject, incarnation, dead))
        return Accusation(body, self._signed(Accusation, body))

    def _signed(self, kind: type[Claim], body: bytes) -> bytes:
        return self._signing.sign(self._before[kind] + body)

    # ---- taking

    def proved(self, claim: Claim, name: str) -> bool:
        """Whether `name` has signed it: 80 µs, so it is asked only of what would change something."""
        before = self._before[type(claim)]
        if self._signing.verify(name, before + claim.body, claim.signature):
            self.verified += 1
            return True
        return False


def read_alive(claim: AliveClaim) -> Alive:
    """What it says, if it can be. Raises Malformed."""
    _signature(claim)
    body: Alive = body_of(claim, Alive)
    _check(
        _is_name(body.name)
        and 0 < body.incarnation <= MOST_INCARNATION
        and len(body.key) == KEY
        and 0 < len(body.address) <= MOST_NAME
        and body.oldest <= body.newest,
        lambda: f"no such member: {body!r:.200}",
    )
    return body


def read_about(claim: AboutClaim) -> About:
    """What it says, if it can be. Raises Malformed."""
    _signature(claim)
    body: About = body_of(claim, About)
    _check(
        _is_name(body.name) and 0 < body.version < 2**63 and len(body.about) <= MOST_ABOUT,
        lambda: f"nothing to tell: {body!r:.200}",
    )
    return body


def read_accused(claim: Accusation) -> Accused:
    """What it says, if it can be. Raises Malformed."""
    _signature(claim)
    body: Accused = body_of(claim, Accused)
    _check(
        _is_name(body.accuser)
        and _is_name(body.subject)
        and body.accuser != body.subject
        and 0 < body.incarnation <= MOST_INCARNATION,
        lambda: f"no accusation: {body!r:.200}",
    )
    return body


def _signature(claim: Claim) -> None:
    _check(len(claim.signature) == SIGNATURE, lambda: "a signature of another length")


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MOST_NAME


def _check(holds: bool, why: Callable[[], str]) -> None:
    if not holds:
        raise Malformed(why())
