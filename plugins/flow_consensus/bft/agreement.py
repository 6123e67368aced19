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
| one who is the proposer has the time-out of line 21, too | it may have lost what it proposed by a crash |
| votes go by way of the leader, and are passed on together (`relay`) | no matter who brings a message |
| 2f + 1 is `quorum`: more where N > 3f + 1 | two quorums share an honest voter, which is what is used |

Prevoting nil is always safe: agreement rests on when a value is prevoted. And it ends nothing for good:
later views have no such rule, and termination needs one good view of a height.
"""

from __future__ import annotations

import enum

from flow_consensus.bft.blocks import Block, Change, block_digest, encode_block
from flow_consensus.bft.core import Decided
from flow_consensus.bft.entries import entries_of
from flow_consensus.bft.hearing import Hearing
from flow_consensus.bft.messages import Certificate, Message, Proposal, Vote
from flow_consensus.bft.restored import Promises, Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import NIL, NO_VIEW, Kind, Scheme, Sign
from flow_consensus.bft.standing import Standing
from flow_consensus.bft.votes import Ballot, Votes
from flowcore.state import LogEntry


class Step(enum.StrEnum):
    """Where in a view a node is (line 4)."""

    PROPOSE = "propose"
    PREVOTE = "prevote"
    PRECOMMIT = "precommit"


class Agreement(Hearing):
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
        promises = restored.promises
        self.phase = Step.PROPOSE
        self.proposed = promises.proposed
        """The digest of what this node has proposed in this view; empty for nothing. So below."""
        self.prevoted = promises.prevoted
        self.precommitted = promises.precommitted
        self.locked_view, self.locked = promises.locked_view, promises.locked
        self.valid_view, self.valid = promises.valid_view, promises.valid
        self.proof: Certificate | None = promises.proof
        """The prevotes that made the valid block valid."""
        self.lock_proof: Certificate | None = promises.lock_proof
        """Those that made this node lock."""
        self._blocks: dict[bytes, tuple[Block, bytes]] = {}
        """The locked and the valid block, by digest, with their bytes."""
        self._tail = b""
        """The digest of the block that stands in the log beyond what is decided."""
        self._tail_write = 0
        """The write that puts it there."""
        self._tail_entries: list[LogEntry] = []
        self._propose_at: int | None = None
        self._prevote_at: int | None = None
        self._precommit_at: int | None = None
        self.views_changed = 0
        tail = restored.tail
        if tail is not None:
            self._tail = tail.digest
            self._blocks[tail.digest] = (tail.block, tail.data)
            if self.valid_view > NO_VIEW and self.valid not in self._blocks:
                # its block was in memory alone; what is locked was valid, too
                self.valid_view, self.valid = self.locked_view, self.locked
                self.proof = self.lock_proof
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
        if good and self.view == 0 and signed.valid == NO_VIEW and ballot.block is not None:
            origin = self.pool.left_out(ballot.block, self.standing, self.now)
            if origin:
                self._event("censored", f"{signed.signer} leaves out requests of {origin}", origin)
                good = False
        self._prevote(signed.digest if good else NIL)

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

    def _lock(self, block: Block, digest: bytes) -> None:
        """Lines 38 and 39; the block is on disk with the precommit, so that it is there whoever crashes."""
        self.locked_view, self.locked, self.lock_proof = self.view, digest, self.proof
        if self._tail != digest:
            self._tail_entries = self._store(block)
            self._tail, self._tail_write = digest, self._writes + 1

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

    def _known_block(self, digest: bytes) -> tuple[Block, bytes] | None:
        found = self._blocks.get(digest)
        if found is not None:
            return found
        proposed = self.votes.block(digest)
        if proposed is None:
            return None
        return proposed[0], proposed[1].block

    def _decide(self, block: Block, data: bytes, digest: bytes, certificate: Certificate) -> None:
        """decision[h] <- v, and on to the next height (lines 51 to 54)."""
        before = self.standing
        there = self._tail == digest
        # made when this node locked, unless that was in another life
        made = self._tail_entries or entries_of(block, self.certificate) if there else []
        entries = made or self._store(block)
        self._tail_entries = []
        self.standing = before.after(block, digest)
        self.certificate = certificate
        self.phase = Step.PRECOMMIT  # nothing is proposed until the next height begins
        decided = self._settle(before, block, entries)
        if there and self._durable >= self._tail_write and not self._pending():
            # its block is on disk with the lock, as it is at 2f + 1 voters: should this node crash before its
            # certificate is there, too, the same is decided here again
            self._late = True
            self._hand_out(decided)
        else:
            self._dirty = True
            self._decided.append(decided)
        self._tail = b""
        self._blocks.clear()
        self.locked_view, self.locked, self.lock_proof = NO_VIEW, b"", None
        self.valid_view, self.valid, self.proof = NO_VIEW, b"", None
        self._past = self.votes if self.standing.epoch is before.epoch else Votes()
        self.votes = Votes()
        self.pool.settle(self.standing)
        for name in [one for one in self.evidence if one in self.standing.accused]:
            del self.evidence[name]
        self._tell_decided(before, block, data, certificate)
        self._start_view(0)

    def _pending(self) -> bool:
        """Whether something that was decided waits to be durable."""
        return bool(self._decided)

    def _hand_out(self, decided: Decided) -> None:
        """What was decided is durable."""
        self._committed += decided.entries
        self._settled += decided.settled
        if decided.due is not None:
            self._checkpoints.append(decided.due)

    def _settle(self, before: Standing, block: Block, entries: list[LogEntry]) -> Decided:
        """What is handed out once a decided block is durable."""
        del before, block
        return Decided(entries, [], None)

    def _tell_decided(
        self, before: Standing, block: Block, data: bytes, certificate: Certificate
    ) -> None:
        """A block is decided: for the parts above."""
        if self.standing.epoch.number != before.epoch.number:
            voters = ", ".join(self.standing.epoch.voters)
            self._event("epoch", f"epoch {self.standing.epoch.number}: {voters} decide")
        if block.creator != before.leader:
            self._event(
                "leader", f"{block.creator} leads since height {block.height}", block.creator
            )
        for one in block.evidence:
            self._event(
                "accused",
                f"{one.accused} has contradicted itself: decided at height {block.height}",
                one.accused,
            )

    # ---- time

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

    def promises(self) -> Promises:
        """What this node has said at this height, to be kept."""
        return Promises(
            self.view,
            self.proposed,
            self.prevoted,
            self.precommitted,
            self.locked_view,
            self.locked,
            self.valid_view,
            self.valid,
            self.proof,
            self.lock_proof,
        )

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
