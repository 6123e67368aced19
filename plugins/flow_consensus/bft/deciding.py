"""What one height comes to: the block that a node is locked on, and the one that is decided.

Lines 38, 39 and 49 to 54 of Algorithm 1; when they are due, `agreement` says.
"""

from __future__ import annotations

import enum

from flow_consensus.bft.blocks import Block
from flow_consensus.bft.core import Decided
from flow_consensus.bft.entries import entries_of
from flow_consensus.bft.hearing import Hearing
from flow_consensus.bft.messages import Certificate
from flow_consensus.bft.restored import Promises, Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import NO_VIEW, Scheme, Sign
from flow_consensus.bft.standing import Standing
from flow_consensus.bft.votes import Votes
from flowcore.state import LogEntry


class Step(enum.StrEnum):
    """Where in a view a node is (line 4)."""

    PROPOSE = "propose"
    PREVOTE = "prevote"
    PRECOMMIT = "precommit"


class Deciding(Hearing):
    """What was said at this height, what is locked, and what follows where a block is decided."""

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
        tail = restored.tail
        if tail is not None:
            self._tail = tail.digest
            self._blocks[tail.digest] = (tail.block, tail.data)
            if self.valid_view > NO_VIEW and self.valid not in self._blocks:
                # its block was in memory alone; what is locked was valid, too
                self.valid_view, self.valid = self.locked_view, self.locked
                self.proof = self.lock_proof

    def _start_view(self, view: int) -> None:
        """StartRound(round) (lines 11 to 21)."""
        raise NotImplementedError

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

    def _lock(self, block: Block, digest: bytes) -> None:
        """Lines 38 and 39; the block is on disk with the precommit, so that it is there whoever crashes."""
        self.locked_view, self.locked, self.lock_proof = self.view, digest, self.proof
        if self._tail != digest:
            self._tail_entries = self._store(block)
            self._tail, self._tail_write = digest, self._writes + 1

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
