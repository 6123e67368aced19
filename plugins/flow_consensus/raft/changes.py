"""Changes of who takes part, made by a leader: Ongaro's dissertation, chapter 4."""

from __future__ import annotations

from flow_consensus.raft.core import Refused, Role
from flow_consensus.raft.entries import membership_data
from flow_consensus.raft.membership import Change, ChangeRefused, Membership
from flow_consensus.raft.messages import TimeoutNow
from flow_consensus.raft.reads import Reads


class Changes(Reads):
    """One change at a time, each an entry of the log that holds from when it is there."""

    def change_voters(self, change: Change) -> int:
        """Begin a change; gives the position of its entry. It holds at once, and is done once committed.

        Raises Refused: not leading; a change is under way; nothing of this term is committed yet (the
        correction of single-server changes, raft-dev 2015); a learner that lags, or was never heard of, is to
        vote; the change makes no sense.
        """
        self._must_lead()
        if self.history.position > self.log.commit:
            raise Refused("a change is under way", leader=self.leader, busy=True)
        if self.log.term(self.log.commit) != self.term:
            raise Refused("nothing of this term is committed yet", leader=self.leader, busy=True)
        try:
            membership = self.membership.changed(change)
        except ChangeRefused as error:
            raise Refused(str(error), leader=self.leader) from None
        for name in sorted(change.voters & self.membership.learners):
            match = self.progress[name].match
            behind = self.log.commit - match
            if behind > self.settings.promote_lag:
                why = f"learner {name!r} is {behind} entries behind"
            elif not match:  # its vote would be counted, and might never come
                why = f"learner {name!r} has not been heard of"
            else:
                continue
            raise Refused(why, leader=self.leader, busy=True)
        return self._change_to(membership)

    def leave_joint(self) -> int:
        """Leave a joint configuration that is not left by itself. Raises Refused."""
        self._must_lead()
        if not self.membership.joint:
            raise Refused("there is no joint configuration to leave", leader=self.leader)
        if self.history.position > self.log.commit:
            raise Refused(
                "the joint configuration is not committed yet", leader=self.leader, busy=True
            )
        return self._change_to(self.membership.left())

    def _must_lead(self) -> None:
        if self.failed:
            raise Refused(f"the disk has failed: {self.failed}")
        if self.role is not Role.LEADER:
            raise Refused("this node does not lead", leader=self.leader)
        if self._transferee:
            raise Refused(f"leadership goes to {self._transferee!r}", leader=self.leader, busy=True)

    _transferee = ""
    """Who is to lead; nothing new is taken meanwhile."""

    def _change_to(self, membership: Membership) -> int:
        position = self._append_own([membership_data(membership)])
        self.history.add(position, membership)
        self._lease_from = None  # the majority that gave it may be none any more
        self._track(position)
        self._membership_changed()
        return position

    def _committed(self) -> None:
        super()._committed()
        if self.history.position > self.log.commit or self.log.term(self.log.commit) != self.term:
            return
        membership = self.membership
        if membership.joint and membership.auto_leave:
            self._change_to(membership.left())  # section 4.3
        elif self.name not in membership.deciders:
            self._leave_office()

    def _leave_office(self) -> None:
        """Not a voter any more, and that is committed (section 4.2.2): have the best one stand."""
        self._flush()
        successor = self._best_voter()
        if successor:
            self._hand_over(successor)
        self._follow(self.term, "", "it is no voter any more")

    def resign(self, why: str) -> None:
        """Lead no more, nor stand, until `recover`: such as while there is no room on the disk.

        A leader has the best follower stand. It goes on to follow and to vote.
        """
        self.unfit = why
        if self.role is Role.LEADER:
            self._flush()
            successor = self._best_voter()
            if successor:
                self._hand_over(successor)
            self._follow(self.term, "", why)

    def recover(self) -> None:
        """This node may lead again."""
        self.unfit = ""

    def _best_voter(self) -> str:
        """The voter whose log is longest, of those who were heard lately; "" if there is none."""
        voters = [
            (self.progress[name].match, name)
            for name in self.membership.voters
            if name != self.name and name in self.progress and self.progress[name].active
        ]
        return max(voters)[1] if voters else ""

    def _hand_over(self, to: str) -> None:
        self._handed_over = True
        self._send(to, TimeoutNow(self.term))
