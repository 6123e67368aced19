"""What a node finds on its disk when it starts: the hard state, the log, what the snapshot says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from flow_consensus.raft.entries import is_membership, known
from flow_consensus.raft.log import Log
from flow_consensus.raft.membership import BadMembership, History, Membership
from flow_consensus.raft.messages import Position, Term
from flowcore.errors import UntrustedFile
from flowcore.state import LogEntry, SnapshotInfo

_VERSION = 1


class HardState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What must not be forgotten beside the log (section 3.8, figure 3.1), as bytes for the storage."""

    version: int
    term: Term
    vote: Annotated[str, msgspec.Meta(max_length=255)]
    """Who got this node's vote in this term; "" for nobody."""
    commit: Position
    base: Position
    membership: bytes
    """The configuration that holds from `base` on: entries before it may be compacted."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(HardState)


def encode_hard_state(term: int, vote: str, commit: int, base: int, membership: bytes) -> bytes:
    """The hard state as bytes."""
    return _ENCODER.encode(HardState(_VERSION, term, vote, commit, base, membership))


class Restored:
    """Fed with what a storage holds, then given to an `Engine`, once.

        restored = Restored(storage.hard_state, storage.compacted, storage.snapshot, voters=first)
        ... restored.add(entries) for all entries of the log, in order ...
        engine = Engine("alpha", restored, settings, chance)

    `voters` are those of a cluster's very first start; once there is a hard state they mean nothing any more.
    Without them a new node has no configuration, and waits for a leader to tell it one. `applied` is how far
    the state got, as far as that is durable: it is committed, though the log may not know.
    Raises UntrustedFile for what no engine can have written.
    """

    def __init__(
        self,
        hard_state: bytes,
        compacted: tuple[int, int],
        snapshot: SnapshotInfo | None = None,
        *,
        voters: Iterable[str] = (),
        applied: int = 0,
        memory_bytes: int = 32 * 2**20,
    ) -> None:
        start, start_term = compacted
        self.snapshot = snapshot
        self.term, self.vote, self._commit = 0, "", start
        base, membership = 0, Membership(voters=voters)
        self.fresh = not hard_state
        """Whether nothing was ever written here."""
        if hard_state:
            stored = _hard_state(hard_state)
            self.term, self.vote = stored.term, stored.vote
            self._commit = max(stored.commit, start, applied)
            base, membership = stored.base, _membership(stored.membership)
        if snapshot is not None and (not hard_state or snapshot.position > base):
            base, membership = snapshot.position, _membership(snapshot.about)
        if self.fresh and snapshot is not None:
            self.term = snapshot.term
        if start > base and start > 0:
            raise UntrustedFile(
                f"the log begins after {start}, and who was a voter there is not stored"
            )
        self._base = base
        self.log = Log(start, start_term, memory_bytes)
        self.history = History(base, membership)
        self._wanted = start + 1

    def add(self, entries: Iterable[LogEntry]) -> None:
        """The next entries of the log."""
        for entry in entries:
            if entry.position != self._wanted:
                raise UntrustedFile(f"entry {self._wanted} is missing: there is {entry.position}")
            if entry.term < self.log.last_term:
                raise UntrustedFile(
                    f"entry {entry.position} is of term {entry.term}, after one of {self.log.last_term}"
                )
            if not known(entry.data):
                raise UntrustedFile(
                    f"entry {entry.position} is of a kind {entry.data[0]} that is not known"
                )
            self._wanted += 1
            self.log.restored(entry, self._commit)
            if is_membership(entry.data) and entry.position > self._base:
                self.history.add(entry.position, _membership(entry.data[1:]))

    def complete(self) -> tuple[int, int] | None:
        """Check the whole, once; gives (position, term) if the log has to be let go of for a snapshot.

        That is where a node stopped between storing another's snapshot and letting go of its log.
        """
        log, snapshot = self.log, self.snapshot
        if log.last_term > self.term:
            raise UntrustedFile(
                f"the log ends in term {log.last_term}, and the hard state is of term {self.term}"
            )
        if snapshot is not None and snapshot.position > log.commit:
            if not log.matches(snapshot.position, snapshot.term):
                log.reset(snapshot.position, snapshot.term)
                self.history.reset(snapshot.position, _membership(snapshot.about))
                return snapshot.position, snapshot.term
            log.commit_to(snapshot.position)
            log.given = snapshot.position
        if self._commit > log.last:
            raise UntrustedFile(
                f"the log ends at {log.last}, and {self._commit} was committed: its end is lost"
            )
        return None


def _hard_state(data: bytes) -> HardState:
    try:
        stored = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise UntrustedFile(f"the hard state cannot be read: {error}") from None
    if stored.version != _VERSION:
        raise UntrustedFile(
            f"the hard state is of version {stored.version}, and this is {_VERSION}"
        )
    return stored


def _membership(data: bytes) -> Membership:
    try:
        return Membership.decode(data)
    except BadMembership as error:
        raise UntrustedFile(str(error)) from None
