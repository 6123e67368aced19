"""Push-pull: two members compare all that they know, and give each other what is newer (over mutual TLS).

The one who asks sends a line for each member, and its own record. It gets the records that it lacks, and the
names of those that it should send; it sends those with a second exchange. Records are signed claims, and the
certificates that prove them: nothing is believed because of who tells it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from flow_membership.swim.beliefs import Beliefs, Known
from flow_membership.swim.claims import Signing, read_accused, read_alive
from flow_membership.swim.sessions import VERSION
from flow_membership.swim.wire import (
    AboutClaim,
    Accusation,
    AliveClaim,
    Malformed,
    encode,
)
from flow_membership.unreadable import UNREADABLE
from flowcore.swarm import MOST_MESSAGE, MemberState

MOST_RECORDS = MOST_MESSAGE // 2
"""Bytes of records in one exchange, about; what is left over comes with the next one."""
_MOST_CERTIFICATE = 16 * 1024
_STATES: Mapping[MemberState, int] = {
    MemberState.ALIVE: 0,
    MemberState.SUSPECT: 1,
    MemberState.DEAD: 2,
    MemberState.LEFT: 3,
}
_DEAD = _STATES[MemberState.DEAD]


class Line(Struct, array_like=True, frozen=True, gc=False):
    """What one knows of a member, in short."""

    name: str
    incarnation: int
    state: int
    version: int
    certificate: bytes
    """The first 8 bytes of its SHA-256; empty if it is not known."""
    key: bytes
    """The first 8 bytes of the boot's key: two boots may claim one incarnation, if one has lost its disk."""


class Record(Struct, array_like=True, frozen=True, gc=False):
    """What one knows of a member, with what proves it."""

    alive: AliveClaim
    about: AboutClaim | None
    accusation: Accusation | None
    certificate: bytes


class Ask(Struct, array_like=True, frozen=True, gc=False):
    """What is sent: everything in short (None: only records are brought), and records."""

    version: int
    cluster: str
    lines: list[Line] | None
    records: list[Record]


class Answer(Struct, array_like=True, frozen=True, gc=False):
    """What comes back."""

    version: int
    refused: str
    """Why nothing was compared; empty if it was."""
    records: list[Record]
    wants: list[str]


class Syncing:
    """Makes and takes what is exchanged; `own` gives this node's own line and record."""

    def __init__(
        self,
        cluster: str,
        beliefs: Beliefs,
        signing: Signing,
        own: Callable[[], tuple[Line, Record]],
        accused: Callable[[Known, Accusation], None],
    ) -> None:
        """`accused` is told of a member that somebody holds for dead, and this node for alive."""
        self._cluster = cluster
        self._beliefs = beliefs
        self._signing = signing
        self._own = own
        self._accused = accused

    # ---- the one who asks

    def ask(self) -> bytes:
        """The first message."""
        line, record = self._own()
        lines = [line, *map(self._line, self._beliefs.known.values())]
        return encode(Ask(VERSION, self._cluster, lines, [record]))

    def bring(self, names: Iterable[str]) -> bytes:
        """The second one, with what the other side wants."""
        found = [self._beliefs.known[name] for name in names if name in self._beliefs.known]
        return encode(Ask(VERSION, self._cluster, None, self._bounded(map(self.record, found))))

    # ---- the one who is asked

    def read_ask(self, data: bytes) -> Ask:
        """Raises Malformed."""
        return _decoded(data, Ask)

    def read_answer(self, data: bytes) -> Answer:
        """Raises Malformed."""
        return _decoded(data, Answer)

    def unlike(self, ask: Ask) -> str:
        """Why nothing is compared with who asks this; empty if it is."""
        if ask.cluster != self._cluster:
            return f"this is swarm {self._cluster!r}, not {ask.cluster!r:.100}"
        return ""

    def answer(self, ask: Ask) -> bytes:
        """What the other side lacks, and what this side wants of it."""
        if ask.lines is None:
            return encode(Answer(VERSION, "", [], []))
        theirs = {line.name: line for line in ask.lines}
        own_line, own_record = self._own()
        of_me = theirs.get(own_line.name)
        records = [] if of_me == own_line else [own_record]
        newer = (
            self.record(one) for one in self._beliefs.known.values() if self._lacks(theirs, one)
        )
        wants = [
            name
            for name, line in theirs.items()
            if name != own_line.name and self._wants(self._beliefs.known.get(name), line)
        ]
        if of_me is not None and (of_me.incarnation, of_me.state) > (own_line.incarnation, 0):
            wants.append(
                own_line.name
            )  # this node is accused there, or claimed more before a restart
        return encode(Answer(VERSION, "", [*records, *self._bounded(newer)], wants))

    def _lacks(self, theirs: Mapping[str, Line], known: Known) -> bool:
        """Whether the other side should have what is known here of a member."""
        line = theirs.get(known.name)
        if line is None:
            return known.state.present
        if known.incarnation != line.incarnation:
            return known.incarnation > line.incarnation
        ours, certificate = _STATES[known.state], mark(known.certificate)
        return (
            known.version > line.version
            or ours > line.state
            or line.key != known.key[:8]
            or (certificate != b"" and certificate != line.certificate)
        )

    def _wants(self, known: Known | None, line: Line) -> bool:
        """Whether the other side has something newer of a member."""
        if known is None:
            return line.state < _DEAD
        if known.incarnation != line.incarnation:
            return known.incarnation < line.incarnation
        return line.version > known.version or line.state > _STATES[known.state]

    # ---- records

    def record(self, known: Known) -> Record:
        certificate = known.certificate or b""
        return Record(known.claim, known.about_claim, known.accusation, certificate)

    def take(self, record: Record, teller: str, now: float) -> None:
        """Believe a record as far as it is proved. Raises Malformed.

        Who is held for dead there and is alive here may be at the other side of a cut that has just healed:
        it is told, and refutes, or is found dead here, too.
        """
        name = read_alive(record.alive).name
        if record.certificate:
            self._learn(name, record.certificate)
        beliefs = self._beliefs
        accusation = record.accusation
        dead = accusation is not None and read_accused(accusation).dead
        if dead and not beliefs.is_member(name):
            return
        beliefs.hear_alive(record.alive, teller, now)
        if record.about is not None:
            beliefs.hear_about(record.about, teller, now)
        if accusation is None:
            return
        known = beliefs.known.get(name)
        if dead and known is not None and known.state.present:
            if read_accused(accusation).incarnation == known.incarnation:
                self._accused(known, accusation)
        else:
            beliefs.hear_accusation(accusation, teller, now)

    def _learn(self, name: str, certificate: bytes) -> None:
        if len(certificate) > _MOST_CERTIFICATE:
            raise Malformed(f"a certificate of {len(certificate)} bytes")
        if certificate == self._signing.certificate(name):
            return
        proved = self._signing.learn(certificate)
        if proved != name:
            self._beliefs.counts["refused certificates"] += 1

    @staticmethod
    def _bounded(records: Iterable[Record]) -> list[Record]:
        """As many as one exchange takes."""
        taken, size = [], 0
        for record in records:
            size += _size(record)
            if size > MOST_RECORDS:
                break
            taken.append(record)
        return taken

    # ---- in short

    def _line(self, known: Known) -> Line:
        return Line(
            known.name,
            known.incarnation,
            _STATES[known.state],
            known.version,
            mark(known.certificate),
            known.key[:8],
        )


def refusal(why: str) -> bytes:
    """The answer of who compares nothing."""
    return encode(Answer(VERSION, why, [], []))


def mark(certificate: bytes | None) -> bytes:
    """A certificate in short."""
    return hashlib.sha256(certificate).digest()[:8] if certificate else b""


def _size(record: Record) -> int:
    about = 0 if record.about is None else len(record.about.body) + 80
    accusation = 0 if record.accusation is None else len(record.accusation.body) + 80
    return len(record.alive.body) + 80 + about + accusation + len(record.certificate)


_T = TypeVar("_T")


def _decoded(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except UNREADABLE as error:
        raise Malformed(str(error)) from None
