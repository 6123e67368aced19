"""The greeting: who both are, what they agree upon, and which of several connections stays. Sans-IO.

Each side says Hello. Of both, the one whose name comes first then decides for both, so that they never
disagree: Welcome, and the link stands; Refusal, and this connection is closed. Two that dial each other at
once so have one link, the one which the decider heard of first, and no third try.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import attrs

from flowcore.errors import LinkFailed
from flowcore.swarm.interfaces import MOST_CHUNK
from flowcore.swarm.links.frames import (
    MOST_HELLO,
    BrokenProtocol,
    Decoder,
    Greeting,
    Hello,
    Refusal,
    Welcome,
    encode,
    reason_text,
)

OLDEST, NEWEST = 1, 1
"""The protocol's versions that this code speaks."""
LEAST_WINDOW = 2 * MOST_CHUNK
"""Less credit than this, and a chunk might wait for credit that only its own end would free."""
MOST_WINDOW = 16 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ADDRESS = re.compile(r"[\x21-\x7e]{1,255}")
_OTHERS = 16


class Refused(LinkFailed):
    """One of both sides does not want this link: `code` says why, as in Refusal."""

    def __init__(self, code: str, reason: str, *, ours: bool) -> None:
        super().__init__(reason)
        self.code = code
        self.ours = ours
        """Whether it was this side that refused."""
        self.peer = ""
        """The other side's name."""


@attrs.frozen(kw_only=True)
class Agreed:
    """What both sides have in common, and what the other one says of itself."""

    peer: Hello
    version: int
    features: frozenset[str]


class Phase(enum.Enum):
    """How far a greeting has come."""

    HELLO = "hello"
    DECIDE = "decide"
    """It is this side's turn to decide."""
    WAIT = "wait"
    """It is the other side's."""
    DONE = "done"


class Greeter:
    """One side of one connection's greeting.

    `certified` is the name that the peer's certificate has proved; `expected` the one that was dialled, if
    one was.
    """

    def __init__(self, hello: Hello, certified: str, expected: str | None = None) -> None:
        self.hello = hello
        self.certified = certified
        self._expected = expected
        self._decoder: Decoder[Hello | Welcome | Refusal] = Decoder(Greeting, MOST_HELLO)
        self.phase = Phase.HELLO
        self.agreed: Agreed | None = None
        self.order = 0
        """Of the welcome: of two links that the same start of a node decided for, the later one counts."""

    @property
    def rest(self) -> bytes:
        """What has come behind the greeting: the first frames of the link."""
        return self._decoder.rest

    def begin(self) -> bytes:
        """What is said first."""
        return encode(self.hello)

    def feed(self, data: bytes) -> None:
        """Take what the peer says. Raises Refused or BrokenProtocol."""
        if self.phase not in (Phase.HELLO, Phase.WAIT):
            self._decoder.keep(data)
            return
        frames = self._decoder.feed(data)
        try:
            while self.phase in (Phase.HELLO, Phase.WAIT):
                frame = next(frames, None)
                if frame is None:
                    return
                self._take(frame)
        finally:
            frames.close()  # type: ignore[attr-defined]  # a generator

    def welcome(self, order: int) -> bytes:
        """What is said to let the link stand."""
        assert self.phase is Phase.DECIDE
        self.phase = Phase.DONE
        self.order = order
        return encode(Welcome(order))

    def _take(self, frame: Hello | Welcome | Refusal) -> None:
        if isinstance(frame, Refusal):
            code, reason = reason_text(frame.code)[:32], reason_text(frame.reason)
            raise Refused(code, f"{self.certified!r} refuses: {reason}", ours=False)
        if self.phase is Phase.HELLO:
            if not isinstance(frame, Hello):
                raise BrokenProtocol(f"expected a hello, not {type(frame).__name__}")
            self.agreed = self._agree(frame)
            first = self.hello.name < frame.name
            self.phase = Phase.DECIDE if first else Phase.WAIT
        elif isinstance(frame, Welcome):
            self.phase = Phase.DONE
            self.order = frame.order
        else:
            raise BrokenProtocol("expected a welcome or a refusal, not a second hello")

    def _agree(self, peer: Hello) -> Agreed:
        """Compare two hellos; the same from both sides, so that each can say what is wrong."""
        ours = self.hello
        _check(peer)
        if peer.name != self.certified:
            raise _refuse("name", f"says to be {peer.name!r}, its certificate {self.certified!r}")
        if self._expected not in (None, peer.name):
            raise _refuse("name", f"is {peer.name!r}, and {self._expected!r} was dialled")
        if peer.name == ours.name:
            raise _refuse("name", f"is named {peer.name!r}, as this node itself")
        if peer.cluster != ours.cluster:
            raise _refuse(
                "cluster", f"belongs to cluster {peer.cluster!r}, this node to {ours.cluster!r}"
            )
        version = min(peer.newest, ours.newest)
        if version < max(peer.oldest, ours.oldest):
            raise _refuse(
                "version",
                f"speaks versions {_range(peer)} of the protocol, this node {_range(ours)}:"
                " they have none in common",
            )
        if not LEAST_WINDOW <= peer.window <= MOST_WINDOW:
            raise BrokenProtocol(f"a window of {peer.window} bytes")
        features = frozenset(peer.features) & frozenset(ours.features)
        return Agreed(peer=peer, version=version, features=features)


def refusal(code: str, reason: str) -> bytes:
    """What is said to refuse a connection."""
    return encode(Refusal(code, reason_text(reason)))


def is_duplicate(standing: Hello, new: Hello) -> bool:
    """Whether a new connection of a peer's is one too many beside the one that stands; else it replaces it.

    It replaces it if the peer has started anew, or knows nothing of the old one any more: when it made the
    new one it named all that it had. Of one that is younger than the new one it could not know.
    """
    if standing.boot != new.boot:
        return False
    return standing.number > new.number or standing.number in new.others


def _check(peer: Hello) -> None:
    """Raise BrokenProtocol if something of a hello cannot be."""
    if (
        not _NAME.fullmatch(peer.name)
        or not _ADDRESS.fullmatch(peer.address)
        or len(peer.boot) != 16
        or peer.number < 0
        or len(peer.others) > _OTHERS
        or not 0 < peer.oldest <= peer.newest
        or not 0 <= peer.streams <= 1 << 20
        or len(peer.cluster) > 64
    ):
        raise BrokenProtocol("a hello that cannot be")


def _refuse(code: str, reason: str) -> Refused:
    return Refused(code, f"the other side {reason}", ours=True)


def _range(hello: Hello) -> str:
    return (
        str(hello.oldest) if hello.oldest == hello.newest else f"{hello.oldest} to {hello.newest}"
    )


def latest(numbers: Iterable[int]) -> tuple[int, ...]:
    """The numbers of connections that a hello names: the youngest, in order."""
    return tuple(sorted(numbers)[-_OTHERS:])
