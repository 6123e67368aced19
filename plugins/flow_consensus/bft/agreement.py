"""Tendermint: Algorithm 1 of "The latest gossip on BFT consensus", line by line.

(Buchman, Kwon, Milosevic 2018, arXiv 1807.04938.)

`round` is called a view here. Upper case in the paper are kinds here; `f + 1` is `epoch.some_honest`, `2f +
1` is `epoch.quorum`. What is added to it, and why it changes nothing that is proved there:

| added | why it may be |
|---|---|
| while nobody has anything to decide, no proposal, and no time-out in view 0 | getValue() may wait |
| a proposal carries the 2f + 1 prevotes of `validRound` | they are the messages that the paper has gossiped |
| nil is prevoted for a block of view 0 that leaves out a request that waits too long | see below |
| who leads stays from height to height | `proposer` may be any function of the decided past and the round |
| nil is prevoted for a new block with a command that should not be decided | valid(v), see below |
| one who is the proposer has the time-out of line 21, too | it may have lost what it proposed by a crash |
| votes go by way of the leader, and are passed on together (`relay`) | no matter who brings a message |
| 2f + 1 is `quorum`: more where N > 3f + 1 | two quorums share an honest voter, which is what is used |

Prevoting nil is always safe: agreement rests on when a value is prevoted. And it ends nothing for good:
for what waits too long later views have no such rule, and termination needs one good view of a height. What
should not be decided (`_unfit_in`) is like an invalid value of the paper, but that nodes may differ about its
time by as much as their clocks do: what was valid in a view before got the prevotes of f + 1 honest ones, and
is not looked at again; and what an honest leader takes is fit for all whose clocks are near its own.
"""

from __future__ import annotations

from flow_consensus.bft.blocks import Block, Change, block_digest, encode_block
from flow_consensus.bft.core import Reason
from flow_consensus.bft.deciding import Deciding, Step
from flow_consensus.bft.messages import Certificate, Message, Proposal, Vote
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import NIL, NO_VIEW, Kind, Scheme, Sign
from flow_consensus.bft.votes import Ballot


class Agreement(Deciding):
    """Deciding one height after another."""

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings,
        scheme: Scheme | None,
    ) -> None:
        super().__init__(name, restored, sign, settings, scheme)
        self._propose_at: int | None = None
        self._prevote_at: int | None = None
        self._precommit_at: int | None = None
        self.views_changed = 0
        if self.precommitted:
            self.phase = Step.PRECOMMIT
        elif self.prevoted:
            self.phase = Step.PREVOTE
        self._resume()

    def _resume(self) -> None:
        """Say again what was said in this view before the restart: the same, bit for bit."""
        if not self.votes_here:
            return
        for kind, said in ((Kind.PREVOTE, self.prevoted), (Kind.PRECOMMIT, self.precommitted)):
            if said:
                self._promise(Vote(self._signed(kind, self.height, self.view, said)))

    # ---- views

    def _time(self, ticks: int) -> int:
        """A time-out of this view: it doubles with each."""
        return self.now + (ticks << min(self.view, self.settings.doublings))

    def _start_view(self, view: int) -> None:
        """StartRound(round) (lines 11 to 21)."""
        self.view = view
        self.phase = Step.PROPOSE
        self.proposed = self.prevoted = self.precommitted = b""
        self._propose_at = self._prevote_at = self._precommit_at = None
        self.votes.forget(view)
        if view:
            self.views_changed += 1
            self._propose_at = self._time(self.settings.view_ticks)
            leader = self.standing.proposer(view)
            self._event("view", f"view {view} of height {self.height}, led by {leader}", leader)
        self._propose()
        self._rules(view)

    def _change_ready(self) -> Change | None:
        """A change that f + 1 voters want."""
        return None

    def busy(self) -> bool:
        """Whether there is something to decide."""
        return (
            self.view > 0
            or self.phase is not Step.PROPOSE
            or bool(self.votes.ballots)
            or self._work()
        )

    def _work(self) -> bool:
        return (
            bool(self._new_evidence())
            or self._change_ready() is not None
            or self.pool.ready(self.standing)
        )

    def _new_evidence(self) -> list[str]:
        return [
            name
            for name in self.evidence
            if name not in self.standing.accused and name in self.epoch.index
        ]

    def _propose(self) -> None:
        """Lines 14 to 19: on the proposer of this view, once."""
        if (
            self.phase is not Step.PROPOSE
            or self.proposed
            or not self.votes_here
            or self.standing.proposer(self.view) != self.name
        ):
            return
        valid, proof = NO_VIEW, None
        found = self._blocks.get(self.valid) if self.valid_view > NO_VIEW else None
        if found is not None and self.proof is not None:
            block, data = found
            digest, valid, proof = self.valid, self.valid_view, self.proof
        else:
            made = self._make_block()
            if made is None:
                return
            block, data = made, encode_block(made)
            digest = block_digest(data)
            self.know_block(digest, data, block)
        self.proposed = digest
        signed = self._signed(Kind.PROPOSAL, self.height, self.view, digest, valid)
        self._promise(Proposal(signed, data, proof))
        # its own prevote goes into the same write (lines 22 to 33)
        self._prevote(digest if self._may_prevote(digest, valid) else NIL)

    def _make_block(self) -> Block | None:
        """getValue() (line 18): what waits; None if nothing does."""
        standing = self.standing
        requests = [one for one in self.pool.take(standing) if self._request_ok(one)]
        evidence = [self.evidence[name] for name in sorted(self._new_evidence())]
        change = self._change_ready()
        if not (requests or evidence or change):
            return None
        return Block(
            standing.cluster,
            self.epoch.number,
            self.height,
            self.view,
            self.name,
            standing.digest,
            standing.position + 1,
            requests,
            [] if change is None else [change],
            evidence,
        )

    # ---- the rules

    def _rules(self, view: int) -> None:
        """Something of a view has come: do what there is to do."""
        height = self.height
        ballot = self.votes.ballots.get(view)
        if ballot is None:
            return
        if self._decide_in(ballot):
            return
        if view > self.view:
            # line 55: f + 1 are in a later view, so an honest one is
            if len(ballot.speakers) >= self.epoch.some_honest:
                self._start_view(view)
            return
        if view < self.view:
            return
        if self.phase is Step.PROPOSE and ballot.proposal is not None:
            self._on_proposal(ballot)  # lines 22 to 33
        if self.height == height and self.view == view:
            self._on_votes(ballot, view)

    def _on_proposal(self, ballot: Ballot) -> None:
        """Lines 22 to 33: prevote for the proposal, or for nothing."""
        assert ballot.proposal is not None
        signed = ballot.proposal.signed
        good = ballot.block is not None and self._may_prevote(signed.digest, signed.valid)
        if good and signed.valid == NO_VIEW and ballot.block is not None:
            unfit = self._unfit_in(ballot.block)
            if unfit:
                self._refuse(Reason.UNFIT, f"{signed.signer} proposes one of {unfit}")
                good = False
        if good and self.view == 0 and signed.valid == NO_VIEW and ballot.block is not None:
            origin = self.pool.left_out(ballot.block, self.standing, self.now)
            if origin:
                self._event("censored", f"{signed.signer} leaves out requests of {origin}", origin)
                good = False
        self._prevote(signed.digest if good else NIL)

    def _unfit_in(self, block: Block) -> str:
        """Whose request in a block should not be decided, as far as this node's clock tells; "" if nobody's.

        What it has taken itself is fit. Of others the clock may be as far ahead again as that of a request
        that is taken: so what an honest leader took gets the votes of all whose clocks are not further apart.
        """
        for one in block.requests:
            if not self.pool.holds(one) and self._unfit(one, times=2):
                return one.origin
        return ""

    def _may_prevote(self, digest: bytes, valid: int) -> bool:
        """The lock: line 23 for a new proposal, line 29 for one that was valid in a view before."""
        if valid == NO_VIEW:
            return self.locked_view == NO_VIEW or self.locked == digest
        return self.locked_view <= valid or self.locked == digest

    def _prevote(self, digest: bytes) -> None:
        """Broadcast <PREVOTE, ...> (lines 24, 26, 30, 32, 59)."""
        self.phase = Step.PREVOTE
        if self.votes_here and not self.prevoted:
            self.prevoted = digest
            self._promise(Vote(self._signed(Kind.PREVOTE, self.height, self.view, digest)))

    def _precommit(self, digest: bytes) -> None:
        """Broadcast <PRECOMMIT, ...> (lines 40, 45, 63)."""
        self.phase = Step.PRECOMMIT
        if self.votes_here and not self.precommitted:
            self.precommitted = digest
            self._promise(Vote(self._signed(Kind.PRECOMMIT, self.height, self.view, digest)))

    def _on_votes(self, ballot: Ballot, view: int) -> None:
        """Lines 34 to 48, in the present view."""
        quorum = self.epoch.quorum
        if (
            self.phase is Step.PREVOTE
            and not ballot.prevote_timer
            and len(ballot.prevotes) >= quorum
        ):
            ballot.prevote_timer = True  # line 34
            self._prevote_at = self._time(self.settings.vote_ticks)
        agreed = ballot.agreed(Kind.PREVOTE, quorum)
        if agreed is not None and agreed != NIL and self.phase is not Step.PROPOSE:
            self._on_polka(ballot, agreed)  # line 36
        if agreed == NIL and self.phase is Step.PREVOTE:
            self._precommit(NIL)  # line 44
        if not ballot.precommit_timer and len(ballot.precommits) >= quorum:
            ballot.precommit_timer = True  # line 47
            self._precommit_at = self._time(self.settings.vote_ticks)

    def _on_polka(self, ballot: Ballot, digest: bytes) -> None:
        """Lines 36 to 43: a quorum has prevoted for the proposal of this view."""
        proposal, block = ballot.proposal, ballot.block
        if ballot.polka or proposal is None or block is None or proposal.signed.digest != digest:
            return
        ballot.polka = True
        kept = self._blocks
        kept[digest] = (block, proposal.block)
        self.valid_view, self.valid = self.view, digest
        self.proof = ballot.certificate(Kind.PREVOTE, digest, self.epoch.index)
        self._agreed(self.proof)
        if self.phase is Step.PREVOTE:
            self._lock(block, digest)
            self._precommit(digest)
        self._dirty = True
        for one in [one for one in kept if one not in (self.locked, self.valid)]:
            del kept[one]

    def _decide_in(self, ballot: Ballot) -> bool:
        """Lines 49 to 54, in any view."""
        digest = ballot.agreed(Kind.PRECOMMIT, self.epoch.quorum)
        if digest is None or digest == NIL:
            return False
        known = self._known_block(digest)
        if known is None:
            return False  # whoever has it sends it: see `catchup`
        block, data = known
        certificate = ballot.certificate(Kind.PRECOMMIT, digest, self.epoch.index)
        self._agreed(certificate)
        self._decide(block, data, digest, certificate)
        return True

    def _agreed(self, certificate: Certificate) -> None:
        """A quorum has voted for one block; for the parts above."""

    # ---- time

    def _acts_at(self) -> int:
        timers = (self._propose_at, self._prevote_at, self._precommit_at)
        due = [super()._acts_at(), *(one for one in timers if one is not None)]
        if self.phase is Step.PROPOSE and self.busy():
            leads = not self.proposed and self.standing.proposer(self.view) == self.name
            if self._propose_at is None or leads:
                due.append(self.now + 1)
        return min(due)

    def _tick_views(self) -> None:
        """Time-outs (lines 57 to 67)."""
        if self._propose_at is None and self.phase is Step.PROPOSE and self.busy():
            self._propose_at = self._time(self.settings.view_ticks)
        if self._propose_at is not None and self.now >= self._propose_at:
            self._propose_at = None
            if self.phase is Step.PROPOSE:
                self._prevote(NIL)
                self._rules(self.view)
        if self._prevote_at is not None and self.now >= self._prevote_at:
            self._prevote_at = None
            if self.phase is Step.PREVOTE:
                self._precommit(NIL)
                self._rules(self.view)
        if self._precommit_at is not None and self.now >= self._precommit_at:
            self._start_view(self.view + 1)

    def _say(self, message: Message) -> None:
        """What a message promises is durable: send it to all."""
        self._broadcast(message)

    def _heard_own(self, message: Message) -> None:
        """What this node has said is durable, and goes out: it hears itself."""
        if isinstance(message, Vote):
            if message.signed.height == self.height:
                self._hear_vote(message.signed)
        elif isinstance(message, Proposal) and message.signed.height == self.height:
            self._hear_proposal(message)
