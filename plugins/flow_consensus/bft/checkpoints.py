"""Certified checkpoints: what the state is after certain blocks, signed by a quorum; and states from others.

As in PBFT (Castro and Liskov 1999, section 4.3): every so many entries, at the same blocks everywhere, each
voter signs the digest of its state; 2f + 1 that agree make the checkpoint stable, and the log before it may
go. A node that is so far behind that its blocks are gone takes the state of a stable checkpoint from
whoever sends it, and believes it if its digest is the one that was certified.
"""

from __future__ import annotations

import attrs

from flow_consensus.bft.blocks import Block, Signed
from flow_consensus.bft.core import Reason
from flow_consensus.bft.deciding import Step
from flow_consensus.bft.effects import ChunkWanted, Install, Piece, Settled
from flow_consensus.bft.messages import (
    Certificate,
    Checkpoint,
    Chunk,
    FetchChunk,
    Offer,
    Stable,
    Vote,
)
from flow_consensus.bft.reads import Reads
from flow_consensus.bft.restored import Promises
from flow_consensus.bft.signing import NO_VIEW, Kind, digest
from flow_consensus.bft.standing import Standing
from flow_consensus.bft.votes import Votes

_KEPT = 4
"""Checkpoints that wait for votes, at most."""
_TRIES = 4
"""How often a piece of a snapshot is asked for before another node's offer is waited for."""


def subject(standing: bytes, state: bytes) -> bytes:
    """What a vote for a checkpoint names."""
    return digest(b"flow bft checkpoint", standing, state)


@attrs.define(eq=False)
class _Due:
    """A checkpoint without a certificate."""

    standing: Standing
    encoded: bytes
    own: bytes = b""
    """The digest of this node's state there; empty while it is not known."""
    votes: dict[str, Signed] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Taking:
    """A snapshot that is being taken in."""

    sender: str
    checkpoint: Checkpoint
    standing: Standing
    number: int = 0
    until: int = 0
    tries: int = 0


class Checkpoints(Reads):
    """Making, certifying and taking checkpoints."""

    stable: Checkpoint | None
    """The last one with a certificate."""

    def _begin_checkpoints(self, stable: Checkpoint | None) -> None:
        self.stable = stable
        self._stable_standing = None if stable is None else Standing.decode(stable.standing)
        self._due: dict[int, _Due] = {}
        self._early_votes: dict[str, dict[int, Signed]] = {}
        self._taking: _Taking | None = None
        self.diverged = ""
        """Why this node's state is not the others'; empty while it is."""
        self.bad_snapshots: dict[str, int] = {}
        """Snapshots that were not what was certified, by who sent them."""

    def _stable_height(self) -> int:
        return 0 if self._stable_standing is None else self._stable_standing.height

    # ---- one's own

    def _tell_decided(
        self, before: Standing, block: Block, data: bytes, certificate: Certificate
    ) -> None:
        super()._tell_decided(before, block, data, certificate)
        if before.checkpoint_after(block):
            due = self._due[block.height] = _Due(self.standing, self.standing.encode())
            while len(self._due) > _KEPT:
                del self._due[min(self._due)]
            for name, kept in list(self._early_votes.items()):
                vote = kept.pop(block.height, None)
                if vote is not None:
                    self._count(name, due, vote)

    def checkpointed(self, height: int, state: bytes) -> None:
        """The state's snapshot at a `CheckpointDue` has this digest."""
        due = self._due.get(height)
        if due is None:
            return
        due.own = state
        if self.name in due.standing.epoch.index and not self.failed:
            epoch = due.standing.epoch
            of = subject(due.encoded, state)
            said = self.statement(Kind.CHECKPOINT, epoch.number, height, 0, NO_VIEW, of)
            vote = Signed(
                Kind.CHECKPOINT, epoch.number, height, 0, NO_VIEW, of, self.name, self._sign(said)
            )
            due.votes[self.name] = vote
            self._broadcast(Vote(vote))
        self._make_stable(height)

    # ---- others'

    def _on_checkpoint_vote(self, sender: str, message: Vote) -> str:
        signed = message.signed
        due = self._due.get(signed.height)
        if due is not None:
            return self._count(sender, due, signed)
        if signed.height <= self.standing.height:
            return ""  # certified already, or none is due there
        if sender != signed.signer:
            return self._refuse(Reason.IMPOSSIBLE, "another one's vote for a checkpoint")
        kept = self._early_votes.setdefault(sender, {})
        kept[signed.height] = signed
        if len(kept) > _KEPT:
            del kept[max(kept)]
        return ""

    def _count(self, sender: str, due: _Due, signed: Signed) -> str:
        del sender
        epoch = due.standing.epoch
        if signed.signer not in epoch.index or signed.epoch != epoch.number:
            return self._refuse(Reason.NOT_VOTER, signed.signer)
        if signed.signer in due.votes:
            return ""
        if signed.view or signed.valid != NO_VIEW:
            return self._refuse(Reason.IMPOSSIBLE, "a view of a checkpoint")
        if not self.signatures.holds(self._claim(signed, epoch)):
            return self._refuse(Reason.SIGNATURE, signed.signer)
        due.votes[signed.signer] = signed
        self._make_stable(signed.height)
        return ""

    def _make_stable(self, height: int) -> None:
        due = self._due[height]
        if not due.own:
            return
        epoch = due.standing.epoch
        mine = subject(due.encoded, due.own)
        for of in {one.digest for one in due.votes.values()}:
            same = [one for one in due.votes.values() if one.digest == of]
            if len(same) < epoch.quorum:
                continue
            if of != mine:
                self._diverge(height, len(same))
                return
            certificate = Certificate(
                Kind.CHECKPOINT,
                epoch.number,
                height,
                0,
                of,
                sorted((epoch.index[one.signer], one.signature) for one in same),
            )
            self._take_stable(Checkpoint(due.encoded, due.own, certificate), due.standing)
            return

    def _diverge(self, height: int, voters: int) -> None:
        """This node's state is not what a quorum has: what it says or answers is worth nothing."""
        self.diverged = (
            f"the state after block {height} is another one than {voters} voters have certified: its disk"
            " or its software is at fault; remove its data, and it takes the others' state"
        )
        self._event("diverged", self.diverged, self.name)
        self.disk_failed(self.diverged)

    def disk_failed(self, why: str) -> None:
        """See `engine`."""
        self.failed = self.failed or why or "unknown"

    def _take_stable(self, checkpoint: Checkpoint, standing: Standing) -> None:
        if standing.height <= self._stable_height():
            return
        self.stable, self._stable_standing = checkpoint, standing
        self._dirty = True
        for height in [one for one in self._due if one <= standing.height]:
            del self._due[height]
        self._event("checkpoint", f"the state after block {standing.height} is certified")

    def _on_stable(self, sender: str, message: Stable) -> str:
        """Another's certificate, for a checkpoint that is due here."""
        found = self._proven_checkpoint(message.checkpoint)
        if found is None:
            return self._refuse(Reason.CERTIFICATE, sender)
        due = self._due.get(found.height)
        if due is not None and due.own:
            if due.own != message.checkpoint.state or due.encoded != message.checkpoint.standing:
                self._diverge(found.height, found.epoch.quorum)
            else:
                self._take_stable(message.checkpoint, found)
        return ""

    def _proven_checkpoint(self, checkpoint: Checkpoint) -> Standing | None:
        """What a checkpoint's certificate proves; None if nothing.

        Its voters are those that it names itself. So they must be the ones that this node knows, or f + 1 of
        those must be among who signed: then an honest one vouches for the epochs between.
        """
        try:
            standing = Standing.decode(checkpoint.standing)
        except ValueError:
            return None
        certificate = checkpoint.certificate
        if (
            standing.encode() != checkpoint.standing
            or standing.cluster != self.standing.cluster
            or (certificate.kind, certificate.height, certificate.view)
            != (Kind.CHECKPOINT, standing.height, 0)
            or certificate.digest != subject(checkpoint.standing, checkpoint.state)
            or not self._holds(certificate, standing.epoch)
        ):
            return None
        if standing.epoch != self.epoch:
            signers = {standing.epoch.voters[at] for at, _ in certificate.signatures}
            known = self.epoch
            vouching = [
                one
                for one in signers
                if one in known.index and known.keys[one] == standing.epoch.keys[one]
            ]
            if len(vouching) < known.some_honest:
                return None
        return standing

    # ---- states from others

    def _offer(self, to: str) -> None:
        if self.stable is not None:
            self._send(to, Offer(self.stable))

    def _on_offer(self, sender: str, message: Offer) -> str:
        taking = self._taking
        if self._fetching == sender:
            self._fetching = ""
        elif taking is None or taking.sender != sender:
            return self._refuse(Reason.NOT_ASKED, sender)
        if taking is not None and not (taking.until and (taking.tries or taking.sender == sender)):
            return ""
        standing = self._proven_checkpoint(message.checkpoint)
        if standing is None:
            return self._refuse(Reason.CERTIFICATE, sender)
        if standing.height <= self.standing.height:
            return self._refuse(Reason.LATE)
        tries = 0
        if taking is not None:
            if standing.height <= taking.standing.height:
                return ""
            tries = taking.tries + 1  # a later one takes its place: whoever had it has let go of it
        self._taking = _Taking(sender, message.checkpoint, standing, tries=tries)
        self._install = Install(message.checkpoint, standing.height, standing.position)
        self._ask_piece()
        return ""

    def _ask_piece(self) -> None:
        taking = self._taking
        assert taking is not None
        taking.until = self.now + self.settings.fetch_ticks
        self._send(taking.sender, FetchChunk(taking.standing.height, taking.number))

    def chunk_gone(self, to: str) -> None:
        """A piece was wanted of a snapshot that is not here any more: a later one is."""
        self._offer(to)

    def _on_fetch_chunk(self, sender: str, message: FetchChunk) -> str:
        self._chunks_wanted.append(ChunkWanted(sender, message.height, message.number))
        return ""

    def _on_chunk(self, sender: str, message: Chunk) -> str:
        taking = self._taking
        if (
            taking is None
            or sender != taking.sender
            or (message.height, message.number) != (taking.standing.height, taking.number)
            or not taking.until
        ):
            return self._refuse(Reason.NOT_ASKED, sender)
        taking.until = taking.tries = 0
        self._pieces.append(Piece(message.height, message.number, message.data, message.last))
        return ""

    def piece_stored(self, height: int, number: int) -> None:
        """A piece that was not the last is stored: on to the next."""
        taking = self._taking
        if taking is not None and (taking.standing.height, taking.number) == (height, number):
            taking.number += 1
            self._ask_piece()

    def install_failed(self, height: int, why: str) -> None:
        """The snapshot that was taken in is not what was certified, or could not be stored."""
        taking = self._taking
        if taking is None or taking.standing.height != height:
            return
        sender = taking.sender
        self.bad_snapshots[sender] = self.bad_snapshots.get(sender, 0) + 1
        self._event("snapshot", f"the state that {sender} sent is not taken: {why}", sender)
        self._take_elsewhere(taking)

    def _take_elsewhere(self, taking: _Taking) -> None:
        """Nothing comes of it: ask another node."""
        self._taking = None
        self._peer(taking.sender).height = 0
        self._fetching = taking.sender
        self._fetch_elsewhere()

    def installed(self, height: int) -> None:
        """The whole snapshot is stored, and has the certified digest: begin after it."""
        taking = self._taking
        if taking is None or taking.standing.height != height:
            return
        self._taking = None
        if height <= self.standing.height:
            return
        self.standing, self.certificate = taking.standing, None
        self.phase = Step.PRECOMMIT  # nothing is proposed until the next height begins
        position = taking.standing.position
        self._reset = (position, height)
        self.start = position
        self._entries.clear()
        self._settled += [
            Settled(done.number, 0, done.count) for one in self._decided for done in one.settled
        ]
        self._decided.clear()
        self._compact = None
        self._recent.clear()
        self._recent_bytes = 0
        self._tail, self._tail_entries = b"", []
        self._blocks.clear()
        self.locked_view, self.locked, self.lock_proof = NO_VIEW, b"", None
        self.valid_view, self.valid, self.proof = NO_VIEW, b"", None
        self.votes, self._past = Votes(), Votes()
        self._due.clear()
        self._dirty = True
        self._take_stable(taking.checkpoint, taking.standing)
        self.pool.settle(self.standing)
        self._event("installed", f"the state after block {height} was taken from {taking.sender}")
        self._outran()
        self._finish_reads()
        self._start_view(0)
        self._fetch(taking.sender)

    def _acts_at(self) -> int:
        due, taking = super()._acts_at(), self._taking
        return min(due, taking.until) if taking is not None and taking.until else due

    def _tick_checkpoints(self) -> None:
        taking = self._taking
        if taking is not None and taking.until and self.now >= taking.until:
            taking.tries += 1
            if taking.tries > _TRIES:
                self._event("late", f"{taking.sender} does not send its state", taking.sender)
                self._take_elsewhere(taking)
            else:
                self._ask_piece()

    @property
    def taking(self) -> int:
        """The height of the snapshot that is being taken in; 0 if none is."""
        return 0 if self._taking is None else self._taking.standing.height


__all__ = ["Checkpoints", "Promises", "subject"]
