"""What is heard at a height: votes and proposals, taken or refused; who contradicts itself is accused."""

from __future__ import annotations

from flow_consensus.bft.blocks import Evidence, Signed, evidence_of
from flow_consensus.bft.claims import Claims
from flow_consensus.bft.core import Reason
from flow_consensus.bft.messages import Accuse, Proposal, Vote
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import NIL, NO_VIEW, Kind, Scheme, Sign
from flow_consensus.bft.votes import Ballot, Votes
from flow_consensus.pieces import BadMessage


class Hearing(Claims):
    """What was said, and what is to be thought of it."""

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings,
        scheme: Scheme | None,
    ) -> None:
        super().__init__(name, restored, sign, settings, scheme)
        self.votes = Votes()
        self._past = Votes()
        """What was said of the height before: a late vote may still contradict an earlier one."""
        self.view = max(0, restored.promises.view)

    def _rules(self, view: int) -> None:
        """Something of a view has come: do what there is to do."""
        raise NotImplementedError

    def _propose(self) -> None:
        """There may be something to propose."""
        raise NotImplementedError

    def _place(self, signed: Signed, kinds: tuple[int, ...]) -> str:
        """Why a statement is not of this height, of a view that is kept, or of a voter; "" if it is."""
        if signed.kind not in kinds or signed.height != self.height:
            return self._refuse(Reason.IMPOSSIBLE, f"kind {signed.kind} at {signed.height}")
        if signed.epoch != self.epoch.number:
            return self._refuse(Reason.OTHER_EPOCH)
        if signed.signer not in self.epoch.index:
            return self._refuse(Reason.NOT_VOTER, signed.signer)
        if not self.votes.has_room(signed.view, self.view, signed.signer):
            return self._refuse(Reason.LATE if signed.view < self.view else Reason.AHEAD)
        return ""

    def _hear_vote(self, signed: Signed) -> str:
        """<PREVOTE, ...> or <PRECOMMIT, ...> of this height."""
        bad = self._count_vote(signed)
        if not bad:
            self._rules(signed.view)
        return bad

    def _count_vote(self, signed: Signed) -> str:
        """A vote of this height: it counts, if it is one; the rules are for who calls this."""
        bad = self._place(signed, (Kind.PREVOTE, Kind.PRECOMMIT))
        if bad:
            return bad
        if signed.valid != NO_VIEW:
            return self._refuse(Reason.IMPOSSIBLE, "a vote with a valid view")
        ballot = self.votes.ballots.get(signed.view)
        before = None if ballot is None else ballot.said(signed.kind, signed.signer)
        if before == signed:
            return ""
        if not self._signed_ok(signed):
            return self._refuse(Reason.SIGNATURE, signed.signer)
        if before is not None:
            return self._note(before, signed)
        ballot = self.votes.at(signed.view)
        ballot.add(signed)
        self._compare(ballot, signed)
        return ""

    def _hear_past(self, signed: Signed) -> str:
        """A vote of the height that was decided last: too late to count, and not to contradict."""
        ballot = self._past.ballots.get(signed.view)
        if ballot is None or signed.signer not in self.epoch.index:
            return ""
        before = ballot.said(signed.kind, signed.signer)
        if before == signed or not self._signed_ok(signed):
            return ""
        if before is not None:
            return self._note(before, signed)
        if signed.kind != Kind.PROPOSAL and signed.valid == NO_VIEW:
            ballot.add(signed)
            self._compare(ballot, signed)
        return ""

    def _compare(self, ballot: Ballot, vote: Signed) -> None:
        """Voters do not agree: pass on what was said, so that who says one thing here and another there is
        found out. Where all say the same, nothing is passed on."""
        votes, count = ballot.votes(vote.kind)
        if len(count) > 1:
            for one in votes.values():
                if (one.kind, one.signer) not in ballot.passed_on and one.signer != self.name:
                    ballot.passed_on.add((one.kind, one.signer))
                    self._broadcast_voters(Vote(one))
        proposal = ballot.proposal
        if proposal is not None and vote.digest not in (NIL, proposal.signed.digest):
            leader = (Kind.PROPOSAL, proposal.signed.signer)
            if leader not in ballot.passed_on:
                ballot.passed_on.add(leader)
                self._broadcast_voters(Vote(proposal.signed))

    def _hear_proposed(self, signed: Signed) -> str:
        """What a leader has signed, without its block: it counts for nothing but against another one."""
        bad = self._place(signed, (Kind.PROPOSAL,))
        if bad:
            return bad
        ballot = self.votes.ballots.get(signed.view)
        before = None if ballot is None else ballot.said(Kind.PROPOSAL, signed.signer)
        if before is None or before == signed:
            return ""
        if not self._signed_ok(signed):
            return self._refuse(Reason.SIGNATURE, signed.signer)
        return self._note(before, signed)

    def _hear_proposal(self, message: Proposal) -> str:
        """<PROPOSAL, ...> of this height."""
        signed = message.signed
        bad = self._place(signed, (Kind.PROPOSAL,))
        if bad:
            return bad
        if signed.signer != self.standing.proposer(signed.view):
            return self._refuse(Reason.NOT_PROPOSER, signed.signer)
        if signed.valid >= signed.view or signed.digest == NIL:
            return self._refuse(Reason.IMPOSSIBLE, f"valid in view {signed.valid}")
        ballot = self.votes.ballots.get(signed.view)
        before = None if ballot is None else ballot.proposal
        if before is not None and before.signed == signed:
            return ""
        if not self._signed_ok(signed):
            return self._refuse(Reason.SIGNATURE, signed.signer)
        if before is not None and ballot is not None:
            said = self._note(before.signed, signed)
            if ballot.agreed(Kind.PREVOTE, self.epoch.quorum) != signed.digest:
                return said
            # its leader has told others another one, for which a quorum has voted: line 36 is about that
        if not self._proof_holds(message):
            return self._refuse(Reason.CERTIFICATE, "of a valid view")
        try:
            block = self._block(signed.digest, message.block)
        except BadMessage as error:
            block = None
            self._refuse(Reason.BLOCK, str(error))
        else:
            if block is None:
                return self._refuse(Reason.BLOCK, "another block than the one that is proposed")
            if bad := self._why_not(block):
                self._refuse(Reason.BLOCK, bad)
                block = None
        ballot = self.votes.at(signed.view)
        ballot.proposal, ballot.block = message, block
        ballot.speakers.add(signed.signer)
        self._rules(signed.view)
        return ""

    def _proof_holds(self, message: Proposal) -> bool:
        """The 2f + 1 prevotes of `validRound` (line 28) come with a proposal that names one."""
        signed, proof = message.signed, message.proof
        if signed.valid == NO_VIEW:
            return proof is None
        return (
            proof is not None
            and (proof.kind, proof.height, proof.view, proof.digest)
            == (Kind.PREVOTE, signed.height, signed.valid, signed.digest)
            and self._holds(proof)
        )

    def _note(self, before: Signed, now: Signed) -> str:
        """A second statement where an honest voter makes one: proof that it is none."""
        if now.signer != self.name:
            self._accuse(evidence_of(before, now))
        return self._refuse(Reason.CONTRADICTION, now.signer)

    def _accuse(self, evidence: Evidence) -> None:
        """Evidence that holds: keep it, tell everybody, have it decided."""
        accused = evidence.accused
        known = accused in self.evidence or accused in self.standing.accused
        if known or evidence.impossible():
            return
        self.evidence[accused] = evidence
        first = evidence.first
        self._event(
            "evidence",
            f"{accused} has signed two {Kind(first.kind).name.lower()}s of height {first.height},"
            f" view {first.view}",
            accused,
        )
        self._broadcast(Accuse(evidence))
        self._propose()
