"""What was said at one height: proposals and votes, by view ("message log", Algorithm 1, line 53).

Nothing is kept that is not signed by a voter of the height's epoch, and of each voter one statement of each
kind in a view; a second one is evidence. Views ahead are kept for so many that a voter that lies fills no
memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from flow_consensus.bft.blocks import Block, Signed
from flow_consensus.bft.messages import Certificate, Proposal
from flow_consensus.bft.signing import NIL, Kind

_AHEAD = 16
"""Views beyond the present one in which what one voter says is kept."""
_KEPT = 32
"""Views before the present one that are kept."""


@attrs.define(eq=False)
class Ballot:
    """One view."""

    proposal: Proposal | None = None
    block: Block | None = None
    """That of the proposal, if it may follow what was decided."""
    prevotes: dict[str, Signed] = attrs.field(factory=dict)
    precommits: dict[str, Signed] = attrs.field(factory=dict)
    for_prevote: Counter[bytes] = attrs.field(factory=Counter)
    for_precommit: Counter[bytes] = attrs.field(factory=Counter)
    certified: dict[int, Certificate] = attrs.field(factory=dict)
    """By kind: votes of a quorum that came together. Who votes twice may be in it with the other vote."""
    speakers: set[str] = attrs.field(factory=set)
    """Who said anything in it."""
    passed_on: set[tuple[int, str]] = attrs.field(factory=set)
    """What was told to all, since voters do not agree: kind and voter."""
    prevote_timer: bool = False
    """Whether line 34 was done."""
    polka: bool = False
    """Whether line 36 was done."""
    precommit_timer: bool = False
    """Whether line 47 was done."""

    def votes(self, kind: int) -> tuple[dict[str, Signed], Counter[bytes]]:
        """The votes of a kind, and how many there are for each digest."""
        if kind == Kind.PREVOTE:
            return self.prevotes, self.for_prevote
        return self.precommits, self.for_precommit

    def said(self, kind: int, signer: str) -> Signed | None:
        """What a voter has said already."""
        if kind == Kind.PROPOSAL:
            if self.proposal is None or self.proposal.signed.signer != signer:
                return None
            return self.proposal.signed
        return self.votes(kind)[0].get(signer)

    def add(self, vote: Signed) -> None:
        """A vote, the first of its voter."""
        votes, count = self.votes(vote.kind)
        votes[vote.signer] = vote
        count[vote.digest] += 1
        self.speakers.add(vote.signer)

    def agreed(self, kind: int, quorum: int) -> bytes | None:
        """The digest for which a quorum has voted; NIL if for nothing; None if there is none."""
        certified = self.certified.get(kind)
        if certified is not None:
            return certified.digest
        _, count = self.votes(kind)
        for digest, votes in count.items():
            if votes >= quorum:
                return digest
        return None

    def has_proposal(self, quorum: int) -> bool:
        """Whether the proposal is here: where a quorum has voted for one, that one."""
        if self.proposal is None:
            return False
        agreed = self.agreed(Kind.PREVOTE, quorum)
        return agreed is None or agreed in (NIL, self.proposal.signed.digest)

    def certificate(self, kind: int, digest: bytes, index: Mapping[str, int]) -> Certificate:
        """The votes for a digest as a certificate."""
        certified = self.certified.get(kind)
        if certified is not None and certified.digest == digest:
            return certified
        votes = [one for one in self.votes(kind)[0].values() if one.digest == digest]
        first = votes[0]
        signatures = sorted((index[one.signer], one.signature) for one in votes)
        return Certificate(
            first.kind, first.epoch, first.height, first.view, first.digest, signatures
        )

    def split(self, kind: int) -> bool:
        """Whether not all say the same."""
        return len(self.votes(kind)[1]) > 1

    def mask(self, kind: int, index: Mapping[str, int]) -> int:
        """Whose votes are here, a bit each."""
        made = 0
        for name in self.votes(kind)[0]:
            made |= 1 << index[name]
        return made


class Votes:
    """All views of a height."""

    def __init__(self) -> None:
        self.ballots: dict[int, Ballot] = {}

    def at(self, view: int) -> Ballot:
        """The ballot of a view."""
        ballot = self.ballots.get(view)
        if ballot is None:
            ballot = self.ballots[view] = Ballot()
        return ballot

    def has_room(self, view: int, now: int, signer: str) -> bool:
        """Whether what a voter says in a view is kept."""
        if view <= now:
            return view > now - _KEPT
        ahead = [at for at, one in self.ballots.items() if at > now and signer in one.speakers]
        return view in ahead or len(ahead) < _AHEAD

    def speaks(self, view: int, signer: str) -> None:
        """A voter has said something in a view."""
        self.at(view).speakers.add(signer)

    def block(self, digest: bytes) -> tuple[Block, Proposal] | None:
        """A block that was proposed and may follow, in whatever view."""
        for one in self.ballots.values():
            if (
                one.block is not None
                and one.proposal is not None
                and one.proposal.signed.digest == digest
            ):
                return one.block, one.proposal
        return None

    def forget(self, now: int) -> None:
        """Let go of views that are long over."""
        for view in [at for at in self.ballots if at <= now - _KEPT]:
            del self.ballots[view]
