"""What a node finds on its disk when it starts: the hard state, the log, what the snapshot says."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, TypeAlias

import msgspec

from flow_consensus.foreign import FOREIGN
from flow_consensus.raft.entries import is_membership, known
from flow_consensus.raft.log import Log
from flow_consensus.raft.membership import BadMembership, History, Membership
from flow_consensus.raft.messages import Position, Term
from flowcore.errors import UntrustedFile
from flowcore.state import LogEntry, SnapshotInfo

_VERSION = 1

_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]


class HardState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What must not be forgotten beside the log (section 3.8, figure 3.1), as bytes for the storage.

    It also says what an engine needs to know of the committed part of the log, so that a node starts without
    reading that part again, however long it is.
    """

    version: int
    term: Term
    vote: _Text
    """Who got this node's vote in this term; "" for nobody."""
    commit: Position
    base: Position
    membership: bytes
    """The configuration in force at `commit`; its entry is at `base`."""
    runs: list[tuple[Position, Term]]
    """The terms up to `commit`: from which position on which one, beginning with the last compacted."""
    node: _Text
    """Whose it is: nobody may vote with another one's memory."""
    cluster: _Text


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(HardState)


def encode_hard_state(
    node: str, cluster: str, term: int, vote: str, log: Log, history: History
) -> bytes:
    """What is to be kept of a node as it is now."""
    base, membership = history.at(log.commit)
    runs = log.terms.runs(log.commit)
    about = membership.encode()
    return _ENCODER.encode(
        HardState(_VERSION, term, vote, log.commit, base, about, runs, node, cluster)
    )


class Restored:
    """Fed with what a storage holds, then given to an `Engine`, once.

        restored = Restored(storage.hard_state, storage.compacted, storage.snapshot, last=storage.last)
        ... restored.add(entries) for the entries from `restored.first` to the last, in order ...
        engine = Engine("alpha", restored, settings, chance)

    `last` is where the log ends; without it, all of its entries have to be added. `voters` are those of a
    cluster's very first start; once there is a hard state they mean nothing any more. Without them a new node
    has no configuration, and waits for a leader to tell it one. `applied` is how far the state got, as far as
    that is durable: it is committed, though the log may not know. `node` and `cluster`, where given, must be
    those that it belongs to. Raises UntrustedFile for what is another's, and what no engine can have written.
    """

    def __init__(
        self,
        hard_state: bytes,
        compacted: tuple[int, int],
        snapshot: SnapshotInfo | None = None,
        *,
        last: int | None = None,
        voters: Iterable[str] = (),
        applied: int = 0,
        node: str = "",
        cluster: str = "",
        memory_bytes: int = 32 * 2**20,
    ) -> None:
        start, start_term = compacted
        self.snapshot = snapshot
        self.cluster = cluster
        self.term, self.vote, self._commit = 0, "", max(start, applied)
        self.fresh = not hard_state
        """Whether nothing was ever written here."""
        self.behind = False
        """Whether the hard state says less than the snapshot for which the log was let go of."""
        if self.fresh and last is not None and last > start:
            raise UntrustedFile(FOREIGN)
        self.log = Log(start, start_term, memory_bytes)
        base, membership = 0, Membership(voters=voters)
        held = start == 0
        if hard_state:
            stored = _hard_state(hard_state, node, cluster)
            self.cluster = stored.cluster
            self.term, self.vote = stored.term, stored.vote
            base, membership = stored.base, _membership(stored.membership)
            if stored.commit >= start:
                held = True
                self._know(stored, start, start_term)
                self._commit = max(self._commit, stored.commit)
        if snapshot is not None and snapshot.position >= start and (self.fresh or not held):
            held = True  # the log was let go of for it
            self.behind = not self.fresh
            base = snapshot.position
            if snapshot.about or not self.fresh:  # else an operator has put it there: a new cluster
                membership = _membership(snapshot.about)
            self._reach(snapshot.term)
        if not held:
            raise UntrustedFile(
                f"the log begins after {start}, and who was a voter there is not stored"
            )
        self._base = base
        self.history = History(base, membership)
        self.first = self.log.commit + 1
        """The first entry that has to be added."""
        self._begins = start
        self._last = last
        self._next: int | None = None

    def _reach(self, term: int) -> None:
        """The node was in this term at least, in which it has promised nothing."""
        if term > self.term:
            self.term, self.vote = term, ""

    def _know(self, stored: HardState, start: int, start_term: int) -> None:
        """Take the committed part of the log as known, without its entries."""
        runs = stored.runs
        rising = all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(runs))
        if not (runs and rising and runs[-1][0] <= stored.commit):
            raise UntrustedFile("the hard state says of the log what cannot be")
        self.log.know(runs, stored.commit)
        if runs[0][0] < start and self.log.term(start) != start_term:
            raise UntrustedFile(
                f"entry {start} is of term {start_term}, and of {self.log.term(start)} by the hard state"
            )
        self.log.compact(start)

    def add(self, entries: Iterable[LogEntry]) -> None:
        """The next entries of the log; of those that are known already only the terms are compared."""
        for entry in entries:
            position = entry.position
            if self._next is None and self._begins < position <= self.first:
                self._next = position
            expected = self.first if self._next is None else self._next
            if position != expected:
                raise UntrustedFile(f"entry {expected} is missing: there is {position}")
            self._next = position + 1
            if position >= self.first:
                self._take(entry)
            elif self.log.term(position) not in (None, entry.term):
                raise UntrustedFile(
                    f"entry {position} is of term {entry.term}, and of {self.log.term(position)} by the"
                    " hard state"
                )

    def _take(self, entry: LogEntry) -> None:
        if entry.term < self.log.last_term:
            raise UntrustedFile(
                f"entry {entry.position} is of term {entry.term}, after one of {self.log.last_term}"
            )
        if not known(entry.data):
            raise UntrustedFile(
                f"entry {entry.position} is of a kind {entry.data[0]} that is not known"
            )
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
                self._reach(snapshot.term)
                self.history.reset(snapshot.position, _membership(snapshot.about))
                return snapshot.position, snapshot.term
            log.commit_to(snapshot.position)
            log.given = snapshot.position
        end = self._last
        if end is None:
            end = log.start if self._next is None else self._next - 1
        if end < self._commit or end < log.last:
            raise UntrustedFile(
                f"the log ends at {end}, and {self._commit} was committed: its end is lost"
            )
        if end > log.last:
            raise UntrustedFile(f"the log ends at {end}, and was read to {log.last} only")
        return None


def _hard_state(data: bytes, node: str, cluster: str) -> HardState:
    try:
        stored = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise UntrustedFile(f"the hard state cannot be read: {error}") from None
    if stored.version != _VERSION:
        raise UntrustedFile(
            f"the hard state is of version {stored.version}, and this is {_VERSION}"
        )
    if node and stored.node != node:
        raise UntrustedFile(f"the log is of node {stored.node!r}, and this is {node!r}")
    if cluster and stored.cluster != cluster:
        raise UntrustedFile(f"the log is of cluster {stored.cluster!r}, and this is {cluster!r}")
    return stored


def _membership(data: bytes) -> Membership:
    try:
        return Membership.decode(data)
    except BadMembership as error:
        raise UntrustedFile(str(error)) from None
