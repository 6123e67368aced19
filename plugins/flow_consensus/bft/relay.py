"""Votes of a quorum, passed on together: by the leader alone, while all goes well.

All-to-all votes cost n² messages. Where nothing fails, each voter tells the leader of view 0 alone, which has
a quorum as soon as anybody, and passes it on: 2n messages instead, for one way more. (HotStuff, Yin and
others 2019, section 4, has its leaders do the same.) It changes nothing that is proved: what is passed on are
the voters' own signatures, each checked as if its voter had sent it, and it is no matter which way they come.

Votes of a quorum count together, too, where a voter in it has told this node something else before: "receive
2f + 1" (lines 36, 49) is of messages, and who contradicts itself has sent both. So a block that some are
locked on is known to all before the next view begins, whatever liars have told whom.

Where a leader has the next block ready when one is decided, the precommits go with its proposal, once that is
on disk: one message less on each link that costs a wake-up. They wait no longer than a part of the time-out.

Nothing waits for a leader that passes nothing on: after the time for which votes are waited for anyway, or
when the view ends, all voters are told, and so they are in all that follows at this height.
"""

from __future__ import annotations

from flow_consensus.bft.agreement import Agreement
from flow_consensus.bft.blocks import Signed
from flow_consensus.bft.core import Reason
from flow_consensus.bft.messages import Certificate, Message, Proposal, Quorum, Vote
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import NIL, NO_VIEW, Kind, Scheme, Sign


class Relay(Agreement):
    """What this node promises goes out by one of two ways."""

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings,
        scheme: Scheme | None,
    ) -> None:
        self._untold: list[Vote] = []
        """Votes of this height that the leader alone was told."""
        self._tell_at: int | None = None
        self._decisive: list[tuple[str, Message]] = []
        """Precommits that this node passes on as the leader: they go with its next proposal."""
        self._decisive_at = 0
        """When they go alone."""
        self._direct = not settings.relay or bool(restored.promises.prevoted)
        """Whether all are told at once, at this height; so it is what was said before a restart."""
        super().__init__(name, restored, sign, settings, scheme)

    def _say(self, message: Message) -> None:
        """What it promises is durable: send it."""
        if isinstance(message, Proposal):
            self._pass_on()
        if not (isinstance(message, Vote) and self._by_leader(message.signed)):
            self._broadcast(message)
            return
        self._untold.append(message)
        self._tell_at = self.now + self.settings.vote_ticks
        self._send(self.standing.proposer(0), message)

    def _by_leader(self, signed: Signed) -> bool:
        return (
            not self._direct
            and self.view == 0
            and (signed.height, signed.view) == (self.height, 0)
            and signed.digest != NIL
        )

    def _start_view(self, view: int) -> None:
        if view:
            self._tell_all()
            if self.proof is not None and self.proof.view == view - 1:
                self._broadcast_voters(Quorum(self.proof))
        else:
            self._untold, self._tell_at = [], None
            self._direct = not self.settings.relay
        super()._start_view(view)
        if self._decisive and not self.proposed:
            self._pass_on()

    def _pass_on(self) -> None:
        """Tell of the precommits that waited for a proposal."""
        self._outbox += self._decisive
        self._decisive = []

    def _tell_all(self) -> None:
        """It takes too long: tell all what only the leader was told."""
        self._direct = True
        self._tell_at = None
        told, self._untold = self._untold, []
        for vote in told:
            self._broadcast(vote)

    def _acts_at(self) -> int:
        due = super()._acts_at()
        if self._decisive:
            due = min(due, self._decisive_at)
        return due if self._tell_at is None else min(due, self._tell_at)

    def _tick_relay(self) -> None:
        if self._decisive and self.now >= self._decisive_at:
            self._pass_on()
        if self._tell_at is not None and self.now >= self._tell_at:
            self._tell_all()

    # ---- who has heard a quorum

    def _agreed(self, certificate: Certificate) -> None:
        """A quorum has voted for one block: pass it on, if this node leads, or if some vote otherwise."""
        split = self.votes.at(certificate.view).split(certificate.kind)
        leads = certificate.view == 0 and self.standing.proposer(0) == self.name
        if not (split or (self.settings.relay and leads)):
            return
        if split or certificate.kind == Kind.PREVOTE:
            self._broadcast(Quorum(certificate))
            return
        message = Quorum(certificate)
        members = [one.name for one in self.epoch.members if one.name != self.name]
        self._decisive = [(name, message) for name in members]
        self._decisive_at = self.now + max(1, self.settings.vote_ticks // 4)

    # ---- the others

    def _hear_quorum(self, certificate: Certificate) -> str:
        """Votes of this height, as many as they are: each counts if its voter has signed it."""
        if certificate.kind not in (Kind.PREVOTE, Kind.PRECOMMIT) or certificate.digest == NIL:
            return self._refuse(Reason.IMPOSSIBLE, f"votes of kind {certificate.kind}")
        voters, bad = self.epoch.voters, ""
        for at, signature in certificate.signatures:
            if at >= len(voters):
                return self._refuse(Reason.NOT_VOTER, f"voter {at}")
            vote = Signed(
                certificate.kind,
                certificate.epoch,
                certificate.height,
                certificate.view,
                NO_VIEW,
                certificate.digest,
                voters[at],
                signature,
            )
            bad = self._count_vote(vote) or bad
        ballot = self.votes.ballots.get(certificate.view)
        if ballot is not None and self._holds(certificate):
            ballot.certified[certificate.kind] = certificate
        self._rules(certificate.view)
        return bad
