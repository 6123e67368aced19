"""Who leads: Ongaro's dissertation, sections 3.4 and 3.6.1; pre-vote 9.6; patience 4.2.3; check-quorum 6.2;
handing over 3.10.
"""

from __future__ import annotations

from random import Random

from flow_consensus.raft.changes import Changes
from flow_consensus.raft.core import TAKEN, Reason, Refused, Role
from flow_consensus.raft.messages import TimeoutNow, Vote, VoteAnswer
from flow_consensus.raft.progress import Phase, Progress
from flow_consensus.raft.quorum import Outcome, joint_tally
from flow_consensus.raft.restored import Restored
from flow_consensus.raft.settings import EngineSettings


class Elections(Changes):
    """Time-outs, votes, and the end of a leader."""

    def __init__(
        self, name: str, restored: Restored, settings: EngineSettings, chance: Random
    ) -> None:
        super().__init__(name, restored, settings, chance)
        self.votes: dict[str, bool] = {}
        self._transfer_ticks = 0
        self._quiet = 0 if restored.fresh else settings.election_ticks
        """Ticks in which a node that was started again votes for nobody: a leader may count on what it
        answered before (section 6.4.1)."""

    @property
    def may_stand(self) -> bool:
        """Whether this node may become leader: a voter, with a disk, and no snapshot half taken.

        Who is voted out by an entry that is not committed yet may be needed to commit it (section 4.2.2).
        """
        if self.failed or self.unfit or self._storing is not None:
            return False
        if self.name in self.membership.deciders:
            return True
        history, commit = self.history, self.log.commit
        return history.position > commit and self.name in history.at(commit)[1].deciders

    @property
    def leader_alive(self) -> bool:
        """Whether the leader was heard within the least time-out, so that nobody else is voted for."""
        if not self.settings.check_quorum:
            return False
        if self.role is Role.LEADER or self._quiet > 0:
            return True
        return bool(self.leader) and self.elapsed < self.settings.election_ticks

    # ---- time

    @property
    def calm(self) -> int:
        """Ticks, 1 at least, until one of them may make this node do something of its own."""
        settings = self.settings
        if self.role is not Role.LEADER:
            return max(1, self._patience - self.elapsed)
        if self._transferee:
            return 1
        beat = settings.heartbeat_ticks - self.ticks % settings.heartbeat_ticks
        return max(1, min(beat, settings.election_ticks - self.elapsed))

    def tick(self) -> None:
        """Time passes, by one tick."""
        self.ticks += 1
        if self._quiet:
            self._quiet -= 1
        if self.failed:
            return
        self.elapsed += 1
        if self.role is Role.LEADER:
            self._tick_leading()
        elif self.elapsed >= self._patience and self.may_stand:
            self.campaign()

    def _tick_leading(self) -> None:
        settings = self.settings
        if self._transferee:
            self._transfer_ticks += 1
            if self._transfer_ticks >= settings.election_ticks:
                self._transferee = ""
        if self.elapsed >= settings.election_ticks:
            self.elapsed = 0
            if settings.check_quorum and not self._quorum_active():
                self._follow(self.term, "", "no majority answers")
                return
        if self.ticks % settings.heartbeat_ticks == 0:
            self._round_wanted = True

    def _quorum_active(self) -> bool:
        """Whether a majority has answered since this was last asked."""
        active = {name: one.active or name == self.name for name, one in self.progress.items()}
        for progress in self.progress.values():
            progress.active = False
        membership = self.membership
        return joint_tally(active, membership.voters, membership.outgoing) is Outcome.WON

    # ---- standing

    def campaign(self, *, force: bool = False) -> None:
        """Stand for election now: by pre-vote first, unless `force`, or the settings are without. Nothing
        happens on a node that leads, or may not stand."""
        if self.role is Role.LEADER or not self.may_stand:
            return
        if self.settings.pre_vote and not force:
            self._pre_campaign()
        else:
            self._campaign(force=force)

    def _pre_campaign(self) -> None:
        """Ask who would vote for us; nobody's term changes (section 9.6)."""
        self._stand(Role.PRE_CANDIDATE)
        self.votes = {self.name: True}
        if self._won():
            self._campaign(force=False)
            return
        log = self.log
        message = Vote(self.term + 1, log.last, log.last_term, True)
        for to in self._others():
            self._send(to, message)

    def _campaign(self, *, force: bool) -> None:
        """The next term, one's own vote, and asking for the others' (section 3.4)."""
        self._set_term(self.term + 1)
        self.vote = self.name
        self._stand(Role.CANDIDATE, "told to stand" if force else "it stands for election")
        self.votes = {}
        log = self.log
        # all of it counts only when the term and the vote are durable, one's own vote, too (section 3.8)
        self._hold(self.name, VoteAnswer(self.term, True))
        message = Vote(self.term, log.last, log.last_term, False, force)
        for to in self._others():
            self._hold(to, message)

    def _stand(self, role: Role, why: str = "the leader is silent") -> None:
        self.elapsed = 0
        self._draw_patience()
        self._become(role, why)
        if self.leader:
            self._lose_leader()
            self._set_leader("")

    def _others(self) -> list[str]:
        return sorted(self.membership.deciders - {self.name})

    def _won(self) -> bool:
        membership = self.membership
        return joint_tally(self.votes, membership.voters, membership.outgoing) is Outcome.WON

    def _on_vote_answer(self, sender: str, message: VoteAnswer) -> str:
        role = Role.PRE_CANDIDATE if message.pre else Role.CANDIDATE
        if self.role is not role:
            return self._refuse(Reason.LATE)
        membership = self.membership
        if sender not in membership.deciders:
            return self._refuse(Reason.NOT_MEMBER)
        self.votes.setdefault(sender, message.granted)
        outcome = joint_tally(self.votes, membership.voters, membership.outgoing)
        if outcome is Outcome.WON:
            if message.pre:
                self._campaign(force=False)
            else:
                self._win()
        elif outcome is Outcome.LOST:
            self._follow(self.term, "", "the vote is lost")
        return TAKEN

    def _win(self) -> None:
        self.elapsed = 0
        self._transferee = ""
        self._become(Role.LEADER, "a majority voted for it")
        self._set_leader(self.name)
        self._lead()
        self._round_wanted = True
        self._own_progress()

    def _own_progress(self) -> None:
        """This node's own log counts as far as it is durable (section 10.2.1)."""
        own = self.progress.get(self.name)
        if own is not None and own.matched(self.log.durable):
            self._advance()

    # ---- voting

    def _on_vote(self, sender: str, message: Vote) -> str:
        log = self.log
        newer = log.is_newer(message.last, message.last_term)
        if sender not in self.membership.members and not newer:
            # whoever was added by an entry that this node lacks has a longer log (section 4.2.1)
            return self._refuse(Reason.NOT_MEMBER, sender)
        if message.term < self.term:
            self._send(sender, VoteAnswer(self.term, False, message.pre))
            return self._refuse(Reason.OLD_TERM)
        force = message.force and sender in self.membership.members
        if self.leader_alive and not force and not self._asks_again(sender, message):
            return self._refuse(Reason.LEADER_ALIVE)
        same = (message.last, message.last_term) == (log.last, log.last_term)
        if message.pre:
            free = message.term > self.term or (not self.leader and self.vote in ("", sender))
            return self._give(sender, message, free and (newer or same))
        if message.term > self.term:
            self._follow(message.term, "", f"{sender} stands in a later term")
        free = self.vote == sender or (not self.vote and not self.leader)
        if not (free and (newer or same)):
            return self._give(sender, message, False)
        if self.vote != sender:
            self.vote = sender
            self._dirty = True
        self.elapsed = 0
        return self._give(sender, message, True)

    def _asks_again(self, sender: str, message: Vote) -> bool:
        """Whether this node has voted for the sender in this very term, and the answer was lost."""
        return not message.pre and message.term == self.term and self.vote == sender

    def _give(self, sender: str, message: Vote, granted: bool) -> str:
        term = message.term if granted else self.term
        answer = VoteAnswer(term, granted, message.pre)
        if granted and not message.pre:
            self._hold(sender, answer)
        else:
            self._send(sender, answer)
        return TAKEN if granted else self._refuse(Reason.NOT_VOTED)

    # ---- handing over

    def transfer_leadership(self, to: str) -> None:
        """Have another voter lead: it is brought up to date, then told to stand at once (section 3.10).

        Nothing new is taken meanwhile, and it is given up after an election time-out. Raises Refused.
        """
        self._must_lead()
        if to == self.name:
            return
        if to not in self.membership.voters:
            raise Refused(f"{to!r} is no voter", leader=self.leader)
        self._transferee = to
        self._transfer_ticks = 0
        self._work = True
        progress = self.progress[to]
        if progress.phase is Phase.PROBE:
            progress.paused = False
        self._caught_up(to, progress)

    def _caught_up(self, name: str, progress: Progress) -> None:
        super()._caught_up(name, progress)
        if name == self._transferee and progress.match == self.log.last:
            self._hand_over(name)

    def _on_timeout_now(self, sender: str, message: TimeoutNow) -> str:
        del message
        if not self.may_stand:
            return self._refuse(Reason.NOT_MEMBER, "this node may not stand")
        self.campaign(force=True)
        return TAKEN

    def _lose_leader(self) -> None:
        super()._lose_leader()
        self._transferee = ""
