"""What all parts of the engine share: who we are, the log, what goes out, and falling back to follower."""

from __future__ import annotations

import enum
from collections import Counter
from random import Random

from flow_consensus.effects import ReadState
from flow_consensus.raft.effects import (
    ChunkStored,
    ChunkWanted,
    Event,
    Fetch,
    LeaderChanged,
    MembershipChanged,
    RoleChanged,
)
from flow_consensus.raft.membership import Membership
from flow_consensus.raft.messages import AppendAnswer, Message
from flow_consensus.raft.progress import Progress
from flow_consensus.raft.restored import Restored
from flow_consensus.raft.settings import EngineSettings
from flowcore.state import SnapshotInfo


class Role(enum.StrEnum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Reason(enum.StrEnum):
    """Why a message was not taken; each is counted in `Engine.refused`."""

    NOT_MEMBER = "not a member"
    OLD_TERM = "old term"
    IMPOSSIBLE = "impossible"
    ANOTHER_LEADER = "another leader leads in this term"
    LEADER_ALIVE = "a leader may be alive"
    LATE = "late"
    NOT_LEADING = "not leading"
    DISK_FAILED = "disk failed"
    NOT_MATCHING = "does not match"
    NOT_VOTED = "not voted"
    UNKNOWN_KIND = "an entry of an unknown kind"


TAKEN = ""
"""What `step` gives for a message that was taken."""


class Refused(Exception):
    """A call that was not taken; nothing has happened."""

    def __init__(self, why: str, *, leader: str = "", busy: bool = False) -> None:
        super().__init__(why)
        self.leader = leader
        """Who leads, as far as is known; "" for nobody."""
        self.busy = busy
        """There is too much of it now; later it may be taken."""


class Core:
    """The state of one node, in the words of the dissertation's figure 3.1, and its outbox."""

    def __init__(
        self, name: str, restored: Restored, settings: EngineSettings, chance: Random
    ) -> None:
        if not 1 <= len(name) <= 255:
            raise ValueError(f"{name!r} is no name: expected 1 to 255 characters")
        self.name = name
        self.settings = settings
        self._chance = chance
        self.log = restored.log
        self.history = restored.history
        self._reset = restored.complete()
        self.cluster = restored.cluster
        self.term = restored.term
        self.vote = restored.vote
        self.role = Role.FOLLOWER
        self.leader = ""
        self.failed = ""
        """Why the disk cannot be trusted any more; "" while it can."""
        self.unfit = ""
        """Why this node should not lead, though it follows and votes; "" if it may."""
        self.refused: Counter[str] = Counter()
        self.progress: dict[str, Progress] = {}
        """Of every member, this node too; empty unless leading."""
        self.ticks = 0
        self.elapsed = 0
        """Ticks since the leader was heard; of a leader, since its quorum was checked."""
        self._patience = 0
        self._dirty = restored.fresh or restored.behind or self._reset is not None
        self._unwritten = restored.fresh
        self._compact: int | None = None
        self._writing = 0
        self._writes = 0
        self._outbox: list[tuple[str, Message]] = []
        self._held: list[tuple[int, str, Message]] = []
        self._events: list[Event] = []
        self._read_states: list[ReadState] = []
        self._fetches: list[Fetch] = []
        self._wanted: list[ChunkWanted] = []
        self._chunk: ChunkStored | None = None
        self._installed: SnapshotInfo | None = None
        if self._reset is not None:
            self._installed = restored.snapshot
        self._draw_patience()

    @property
    def membership(self) -> Membership:
        """The configuration in force: the latest in the log (section 4.1)."""
        return self.history.latest

    # ---- what goes out

    def _send(self, to: str, message: Message) -> None:
        """Send what promises nothing."""
        self._outbox.append((to, message))

    def _hold(self, to: str, message: Message) -> None:
        """Send when all that is known now is durable (section 3.8): votes, and what was stored."""
        if self._dirty or self.log.untaken:
            barrier = self._writes + 1
        elif self._writing:
            barrier = self._writing
        else:
            self._outbox.append((to, message))
            return
        held = self._held
        if held and type(message) is AppendAnswer and not message.rejected:
            last_barrier, last_to, last = held[-1]
            if (
                last_barrier == barrier
                and last_to == to
                and type(last) is AppendAnswer
                and last.term == message.term
                and last.match <= message.match
            ):
                held[-1] = (barrier, to, message)  # it says what the one before says
                return
        held.append((barrier, to, message))

    def _refuse(self, reason: Reason, what: str = "") -> str:
        """Count a message that is not taken; gives the reason."""
        self.refused[reason] += 1
        return f"{reason}: {what}" if what else str(reason)

    # ---- terms and roles

    def _draw_patience(self) -> None:
        """Another time-out, at random between once and twice the least (section 3.4).

        More than once: who heard the same heartbeat has lost its patience by then, too.
        """
        least = self.settings.election_ticks
        self._patience = self._chance.randint(least + 1, 2 * least)

    def _become(self, role: Role, why: str) -> None:
        if role is not self.role:
            self.role = role
            self._events.append(RoleChanged(role, self.term, why))

    def _set_leader(self, leader: str) -> None:
        if leader != self.leader:
            self.leader = leader
            self._events.append(LeaderChanged(leader, self.term))

    def _set_term(self, term: int) -> None:
        """A later term: nobody has our vote in it (section 3.3)."""
        self.term = term
        self.vote = ""
        self._dirty = True
        if self._held:
            # what was promised to an earlier term's leader or candidate is of no use to anybody
            self._held = [one for one in self._held if one[2].term >= term]

    def _follow(self, term: int, leader: str, why: str) -> None:
        """Become a follower, of a leader or of nobody yet."""
        if term > self.term:
            self._set_term(term)
            if self.leader and self.leader == leader:
                self._lose_leader()  # what it was asked in an earlier term it does not know any more
        if self.role is not Role.FOLLOWER:
            self.progress = {}
            self.elapsed = 0
            self._draw_patience()
            self._become(Role.FOLLOWER, why)
        if leader != self.leader:
            self._lose_leader()
            self._set_leader(leader)

    def _lose_leader(self) -> None:
        """The leader, or this node's being it, is over."""

    def _membership_changed(self) -> None:
        self._events.append(MembershipChanged(self.history.position, self.history.latest))
