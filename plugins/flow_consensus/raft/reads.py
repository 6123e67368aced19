"""Reads that see everything acknowledged before: Ongaro's dissertation, section 6.4; for leases 6.4.1.

A read index is the commit position at a moment at which this node surely led: once a heartbeat sent after the
question is answered by a majority. Heartbeats are numbered, and all reads that wait share the next one. With
a lease, the last heartbeat that a majority answered is trusted for as long as none of them would vote.
"""

from __future__ import annotations

from collections import deque
from random import Random

import attrs

from flow_consensus.effects import ReadState
from flow_consensus.raft.core import TAKEN, Reason, Refused, Role
from flow_consensus.raft.messages import Heartbeat, HeartbeatAnswer, Read, ReadAnswer
from flow_consensus.raft.progress import Phase
from flow_consensus.raft.quorum import jointly_reached
from flow_consensus.raft.replication import Replication
from flow_consensus.raft.restored import Restored
from flow_consensus.raft.settings import EngineSettings


@attrs.define(eq=False)
class _Waiting:
    """A read that waits for a heartbeat's answers, or for the first commit of this term."""

    context: object
    asker: str
    """"" for this node itself."""
    id: int
    leased: bool
    position: int = 0
    round: int = 0


class Reads(Replication):
    """Heartbeats, and what they prove."""

    def __init__(
        self, name: str, restored: Restored, settings: EngineSettings, chance: Random
    ) -> None:
        super().__init__(name, restored, settings, chance)
        self.round = 0
        self._round_wanted = False
        self._rounds: deque[tuple[int, int]] = deque()
        """Heartbeats that no majority has answered yet, each with its tick."""
        self._lease_from: int | None = None
        """The tick of the last heartbeat that a majority has answered."""
        self._handed_over = False
        """In this term somebody was told to stand, and may at any time: no lease holds."""
        self._early: list[_Waiting] = []
        self._waiting: deque[_Waiting] = deque()
        self._asked: dict[int, object] = {}
        self._next_id = chance.getrandbits(60)
        """Never one of an earlier life: its answers may still be under way."""

    def _lead(self) -> None:
        self._rounds.clear()
        self._lease_from = None
        self._handed_over = False
        super()._lead()

    # ---- asking

    def read_index(self, context: object, *, leased: bool = False) -> None:
        """Ask for a position that shows all that was acknowledged before; a `ReadState` tells it.

        `leased`: a lease is good enough. Whoever drives the engine must then have told it all ticks that have
        passed. A follower asks the leader, once: what is lost on the way is asked again by the caller.
        Raises Refused.
        """
        if self.failed:
            raise Refused(f"the disk has failed: {self.failed}")
        if len(self._waiting) + len(self._early) + len(self._asked) >= self.settings.reads:
            raise Refused(
                f"{self.settings.reads} reads wait already", leader=self.leader, busy=True
            )
        if self.role is Role.LEADER:
            self._ask(_Waiting(context, "", 0, leased))
            return
        if not self.leader:
            raise Refused("no leader is known")
        self._next_id += 1
        self._asked[self._next_id] = context
        self._send(self.leader, Read(self.term, self._next_id, leased))

    def forget_reads(self, context: object) -> None:
        """Nobody waits any more for what was asked with this context."""
        for number in [one for one, what in self._asked.items() if what == context]:
            del self._asked[number]

    def _ask(self, read: _Waiting) -> None:
        log = self.log
        if log.term(log.commit) != self.term:
            self._early.append(read)  # what is committed is not known before (step 1)
        elif read.leased and self.lease_holds:
            self._answer(read, log.commit)
        else:
            read.position, read.round = log.commit, self.round + 1
            self._waiting.append(read)
            self._round_wanted = True

    def _answer(self, read: _Waiting, position: int | None) -> None:
        if read.asker:
            self._send(
                read.asker, ReadAnswer(self.term, read.id, -1 if position is None else position)
            )
        else:
            self._read_states.append(ReadState(read.context, position))

    @property
    def lease_holds(self) -> bool:
        """Whether no other leader can be there: fewer ticks since the answered heartbeat than others wait."""
        settings = self.settings
        return (
            self.role is Role.LEADER
            and settings.check_quorum
            and not self._handed_over
            and self._lease_from is not None
            and self.ticks - self._lease_from < settings.election_ticks - settings.lease_margin
        )

    def _committed(self) -> None:
        super()._committed()
        if self._early:
            early, self._early = self._early, []
            for read in early:
                self._ask(read)

    def _lose_leader(self) -> None:
        super()._lose_leader()
        for read in (*self._early, *self._waiting):
            self._answer(read, None)
        self._early.clear()
        self._waiting.clear()
        self._round_wanted = False
        for context in self._asked.values():
            self._read_states.append(ReadState(context, None))
        self._asked.clear()

    # ---- heartbeats

    def _beat(self) -> None:
        """Send the next heartbeat to everybody."""
        self.round += 1
        self._round_wanted = False
        self._rounds.append((self.round, self.ticks))
        commit = self.log.commit
        message = Heartbeat(self.term, commit, self.round)
        for to, progress in self.progress.items():
            if to == self.name:
                progress.round = self.round
            elif progress.match >= commit:
                progress.commit_sent = commit
                self._send(to, message)
            else:
                self._send(to, Heartbeat(self.term, progress.match, self.round))
        self._answered()

    def _answered(self) -> None:
        """See what heartbeats a majority has answered, and what that proves."""
        membership = self.membership
        rounds = {name: one.round for name, one in self.progress.items()}
        reached = jointly_reached(rounds, membership.voters, membership.outgoing)
        while self._rounds and self._rounds[0][0] <= reached:
            self._lease_from = self._rounds.popleft()[1]
        while self._waiting and self._waiting[0].round <= reached:
            read = self._waiting.popleft()
            self._answer(read, read.position)

    def _on_heartbeat(self, sender: str, message: Heartbeat) -> str:
        refused = self._take_commit(message.commit)
        if not refused:
            # a lease may rest on it: who starts again is patient, unless nothing at all was ever written
            answer = self._hold if self._unwritten else self._send
            answer(sender, HeartbeatAnswer(self.term, message.round))
        return refused

    def _on_heartbeat_answer(self, sender: str, message: HeartbeatAnswer) -> str:
        progress = self.progress.get(sender)
        if self.role is not Role.LEADER or progress is None:
            return self._refuse(Reason.NOT_LEADING)
        if message.round > self.round:
            return self._refuse(Reason.IMPOSSIBLE, f"heartbeat {message.round} was never sent")
        progress.active = True
        if message.round > progress.round:
            progress.round = message.round
            self._answered()
        if progress.phase is Phase.SNAPSHOT:
            self._resend_chunk(sender, progress)
        elif progress.match < self.log.last:
            if progress.phase is Phase.PROBE:
                progress.paused = False
            else:
                self._ask_whether_lost(sender, progress)
            self._work = True
        return TAKEN

    # ---- asked by others

    def _on_read(self, sender: str, message: Read) -> str:
        if self.role is not Role.LEADER:
            self._send(sender, ReadAnswer(self.term, message.id, -1))
            return self._refuse(Reason.NOT_LEADING)
        if len(self._waiting) + len(self._early) >= self.settings.reads:
            self._send(sender, ReadAnswer(self.term, message.id, -1))
            return self._refuse(Reason.LATE, "too many reads wait")
        self._ask(_Waiting(None, sender, message.id, message.leased))
        return TAKEN

    def _on_read_answer(self, sender: str, message: ReadAnswer) -> str:
        if message.id not in self._asked:
            return self._refuse(Reason.LATE)
        context = self._asked.pop(message.id)
        position = None if message.position < 0 else message.position
        self._read_states.append(ReadState(context, position))
        return TAKEN
