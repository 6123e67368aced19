"""The Raft engine: ticks, messages and calls in, a batch of effects out. Sans-IO.

    engine = Engine("alpha", restored, EngineSettings(), Random(seed))
    engine.tick()                                  # time passes
    engine.step("beta", message)                   # a message came
    engine.propose([b"a command"])                 # on a leader
    while ready := engine.ready():
        send(ready.messages)                       # at once, while the disk works
        write(ready.write)                         # then engine.persisted(ready.write.number)
        apply(ready.committed)

It follows Diego Ongaro's dissertation "Consensus: Bridging Theory and Practice" (2014), whose sections the
docstrings name, in the manner of etcd's engine. What it never does: raise for a message, whatever is in it;
promise what is not durable; ask for the time or for chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs

from flow_consensus.effects import Write
from flow_consensus.raft.core import Reason, Refused, Role
from flow_consensus.raft.effects import Ready
from flow_consensus.raft.election import Elections
from flow_consensus.raft.entries import command_data
from flow_consensus.raft.membership import Membership
from flow_consensus.raft.messages import (
    Append,
    AppendAnswer,
    Chunk,
    ChunkAnswer,
    Commit,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Read,
    ReadAnswer,
    TimeoutNow,
    Vote,
    VoteAnswer,
    impossible,
)
from flow_consensus.raft.restored import Restored, encode_hard_state
from flow_consensus.raft.settings import EngineSettings


@attrs.frozen(kw_only=True)
class Status:
    """A node as it is now."""

    name: str
    role: Role
    term: int
    vote: str
    leader: str
    start: int
    last: int
    durable: int
    commit: int
    membership: Membership
    failed: str
    refused: dict[str, int]
    followers: dict[str, FollowerStatus]
    """Empty unless leading."""


@attrs.frozen(kw_only=True)
class FollowerStatus:
    """A member as its leader knows it."""

    phase: str
    match: int
    next: int
    active: bool
    flying: int


class Engine(Elections):
    """One node of one group.

    What is public here and in the classes below it is the interface: `tick`, `step`, `propose`, `read_index`,
    `campaign`, `transfer_leadership`, `change_voters`, `leave_joint`, `applied`, `compact`, `describe`,
    `ready`, `persisted`, `disk_failed`, `resign`, `recover`, `fetched`, `chunk_read`, `chunk_stored`,
    `report_unreachable`, `report_snapshot`, `forget_reads`, `status`; and to read, `name`, `term`, `vote`,
    `role`, `leader`, `log`, `membership`, `progress`, `refused`, `calm`, `lease_holds`, `failed`, `unfit`.
    """

    def __init__(
        self,
        name: str,
        restored: Restored,
        settings: EngineSettings | None = None,
        chance: Random | None = None,
    ) -> None:
        """`chance` must be seeded differently on each node; without it the name is the seed."""
        super().__init__(name, restored, settings or EngineSettings(), chance or Random(name))
        self._stored_commit = self.log.commit
        from_leader: dict[type[Any], Callable[[str, Any], str]] = {
            Append: self._on_append,
            Heartbeat: self._on_heartbeat,
            Commit: self._on_commit,
            TimeoutNow: self._on_timeout_now,
            Chunk: self._on_chunk,
        }
        from_member: dict[type[Any], Callable[[str, Any], str]] = {
            AppendAnswer: self._on_append_answer,
            HeartbeatAnswer: self._on_heartbeat_answer,
            ChunkAnswer: self._on_chunk_answer,
            VoteAnswer: self._on_vote_answer,
            Read: self._on_read,
            ReadAnswer: self._on_read_answer,
        }
        self._from_leader = from_leader
        self._from_member = from_member

    # ---- in

    def step(self, sender: str, message: Message) -> str:
        """A message came from a node, whose name is authentic. Gives "" if it was taken, or why it was not.

        Whatever is in it, nothing is raised; what is not taken is counted in `refused`.
        """
        if self.failed:
            return self._refuse(Reason.DISK_FAILED)
        if sender == self.name:
            return self._refuse(Reason.IMPOSSIBLE, "from this node itself")
        if bad := impossible(message):
            return self._refuse(Reason.IMPOSSIBLE, bad)
        kind = type(message)
        if (handler := self._from_member.get(kind)) is not None:
            return self._member(sender, message) or handler(sender, message)
        if (handler := self._from_leader.get(kind)) is not None:
            return self._led(sender, message) or handler(sender, message)
        if type(message) is Vote:
            return self._on_vote(sender, message)
        return self._refuse(Reason.IMPOSSIBLE, f"a {kind.__name__}")

    def _led(self, sender: str, message: Message) -> str:
        """Whether what only a leader says may come from the sender; follow it then (sections 3.3, 3.4).

        A leader need not be a member as far as this node knows: it may lack the entry that added it. But
        while another leader is alive, a stranger is not listened to (section 4.2.3).
        """
        if message.term < self.term:
            # so that it steps down, and follows whoever leads now; also one whom this node does not know
            # yet: it may have been added where this node has stood for election in vain
            self._send(sender, HeartbeatAnswer(self.term, 0))
            return self._refuse(Reason.OLD_TERM)
        if sender != self.leader or message.term > self.term:
            members = self.membership.members
            stranger = bool(members) and sender not in members and sender != self.leader
            if stranger and self.leader_alive:
                return self._refuse(Reason.NOT_MEMBER, sender)
            if message.term == self.term and (self.leader or self.role is Role.LEADER):
                return self._refuse(Reason.ANOTHER_LEADER, sender)
            self._follow(message.term, sender, f"{sender} leads")
        self.elapsed = 0
        return ""

    def _member(self, sender: str, message: Message) -> str:
        """Whether what members say is from one, and of this term (section 3.3)."""
        if sender not in self.membership.members:
            return self._refuse(Reason.NOT_MEMBER, sender)
        if message.term == self.term:
            return ""
        if message.term < self.term:
            return self._refuse(Reason.OLD_TERM)
        if type(message) is VoteAnswer and message.pre and message.granted:
            if message.term == self.term + 1:
                return ""  # for the term in which this node would stand
            return self._refuse(Reason.LATE)
        self._follow(message.term, "", f"{sender} is in a later term")
        return self._refuse(Reason.LATE)

    def _on_commit(self, sender: str, message: Commit) -> str:
        del sender
        return self._take_commit(message.commit)

    def propose(self, commands: Sequence[bytes]) -> int:
        """Put commands at the end of the log; gives the position of the first.

        What comes of them shows in `committed`: they are committed if it has them at their positions in this
        `term`, and lost for good if it has another term there.

        Raises Refused, and has taken none: not leading, handing over, or too much is uncommitted (`busy`).
        """
        self._must_lead()
        if self.log.uncommitted >= self.settings.uncommitted_bytes:
            raise Refused(
                f"{self.log.uncommitted} bytes are not committed yet", leader=self.leader, busy=True
            )
        if not commands:
            raise ValueError("no commands")
        return self._append_own([command_data(one) for one in commands])

    def applied(self, position: int) -> None:
        """The state has applied everything up to a position, in an earlier life perhaps: it is committed.

        Raises ValueError for what is not in the log.
        """
        if position > self.log.last:
            raise ValueError(f"{position} is applied, and the log ends at {self.log.last}")
        if position > self.log.commit:
            self.log.commit_to(position)

    def compact(self, position: int) -> int:
        """The state has everything up to a position durably: let go of the log up to it, by the next write.

        Gives up to where it will be: less where a snapshot is being sent that the rest belongs to. Raises
        ValueError for what is not committed and handed out.
        """
        if position > self.log.given:
            raise ValueError(
                f"compact({position}), and {self.log.given} was handed out as committed"
            )
        for progress in self.progress.values():
            if progress.snapshot and progress.active:
                position = min(position, progress.snapshot)
        position = min(position, self.log.durable)
        if position > self.log.start and position > (self._compact or 0):
            self._compact = position
            self._dirty = True
        return max(self._compact or 0, self.log.start)

    # ---- out

    def ready(self) -> Ready:
        """Everything there is to do. False if there is nothing."""
        if self.role is Role.LEADER:
            if self._round_wanted:
                self._beat()
            if self._work:
                self._flush()
        ready = Ready(
            self._outbox,
            self._next_write(),
            self.log.give(),
            self._read_states,
            self._installed,
            self._fetches,
            self._wanted,
            self._chunk,
            self._events,
        )
        self._outbox, self._read_states, self._fetches = [], [], []
        self._wanted, self._events = [], []
        self._chunk = self._installed = None
        return ready

    def _next_write(self) -> Write | None:
        log = self.log
        if self._writing or self.failed or not (self._dirty or log.untaken):
            return None
        self._writes += 1
        self._writing = self._writes
        compact, reset = self._compact, self._reset
        if compact is not None:
            log.compact(compact)
            self.history.compact(compact)
        hard_state = None
        if self._dirty or log.commit > self._stored_commit + self.settings.commit_behind:
            hard_state = encode_hard_state(
                self.name, self.cluster, self.term, self.vote, log, self.history
            )
            self._stored_commit = log.commit
        self._dirty = False
        self._compact = self._reset = None
        return Write(self._writing, log.take(), hard_state, reset, compact)

    def persisted(self, number: int) -> None:
        """A write is durable: what waited for it goes out, and this node's log counts that far.

        Raises ValueError for a write that is not under way.
        """
        if number != self._writing or not number:
            raise ValueError(f"write {number} is not under way, {self._writing or 'none'} is")
        self._writing = 0
        if self.failed:
            return
        self._unwritten = False
        self.log.written()
        held, self._held = self._held, []
        for one in held:
            barrier, to, message = one
            if barrier > number:
                self._held.append(one)
            elif to != self.name:
                self._send(to, message)
        if self.role is Role.LEADER:
            self._own_progress()
        for barrier, to, message in held:
            if barrier <= number and to == self.name and message.term == self.term:
                self._on_vote_answer(to, message)  # type: ignore[arg-type]

    def disk_failed(self, why: str) -> None:
        """What was written may be there or not: this node votes, acknowledges and leads no more.

        A leader has the best follower stand first, which costs no promise. There is no way back but to start
        again, from what the disk then holds.
        """
        if self.failed:
            return
        if self.role is Role.LEADER:
            self._flush()
            successor = self._best_voter()
            if successor:
                self._hand_over(successor)
        self._follow(self.term, "", f"the disk has failed: {why}")
        self.failed = why or "unknown"
        self._held.clear()

    # ---- to look at

    def status(self) -> Status:
        """What is true of it now."""
        return Status(
            name=self.name,
            role=self.role,
            term=self.term,
            vote=self.vote,
            leader=self.leader,
            start=self.log.start,
            last=self.log.last,
            durable=self.log.durable,
            commit=self.log.commit,
            membership=self.membership,
            failed=self.failed,
            refused={str(reason): count for reason, count in self.refused.items()},
            followers={
                name: FollowerStatus(
                    phase=one.phase.value,
                    match=one.match,
                    next=one.next,
                    active=one.active,
                    flying=len(one.flying),
                )
                for name, one in sorted(self.progress.items())
                if name != self.name
            },
        )
