"""Who lacks something gets it: messages of this height, decided blocks with their certificates.

The paper assumes that what one honest process has received, all have soon ("gossip communication", section
2). Here each node says now and then what it has, and whoever has more, sends it (as Tendermint's own gossip
does). So no vote need be sent twice to who has it, and it is no matter which messages are lost.

A block that was decided comes with 2f + 1 precommits, which nobody can make up: it does not matter who
sends it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs

from flow_consensus.bft.blocks import Block
from flow_consensus.bft.core import Reason
from flow_consensus.bft.effects import BlocksWanted
from flow_consensus.bft.messages import (
    MOST_BLOCKS,
    Blocks,
    Certificate,
    Fetch,
    Here,
    Message,
    Proposal,
    Quorum,
    Vote,
)
from flow_consensus.bft.relay import Relay
from flow_consensus.bft.restored import Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import Kind, Scheme, Sign
from flow_consensus.bft.standing import Standing
from flow_consensus.bft.votes import Ballot
from flow_consensus.pieces import BadMessage

_EARLY = 64
"""Messages of the next height that are kept of each node."""
_EARLY_BYTES = 4 * 2**20


def _size(message: Message) -> int:
    """Bytes, about."""
    if isinstance(message, Proposal):
        return len(message.block)
    return 80 * len(message.certificate.signatures) if isinstance(message, Quorum) else 200


@attrs.define(eq=False)
class Peer:
    """Another node, as it says itself: nothing is decided by it."""

    height: int = 0
    told: int = -1000
    """When it was last sent what it lacks."""
    answered: int = -1000
    """When it was last told where this node is, beside the usual."""
    reading: bool = False
    """Whether blocks are being read from the disk for it."""
    early: deque[Message] = attrs.field(factory=lambda: deque(maxlen=_EARLY))
    early_bytes: int = 0


class Catchup(Relay):
    """What nodes tell each other beside the algorithm."""

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings,
        scheme: Scheme | None,
    ) -> None:
        self._peers: dict[str, Peer] = {}
        self._recent: deque[tuple[int, bytes, Certificate]] = deque()
        self._recent_bytes = 0
        self._fetching = ""
        self._fetch_until = 0
        self._here_at = -settings.idle_ticks
        """When this node has said last what it has, and when it has decided last."""
        self._decided_at = 0
        self.strange_clusters: set[str] = set()
        """Nodes that are of another cluster, or began with other voters or keys."""
        super().__init__(name, restored, sign, settings, scheme)

    def _peer(self, name: str) -> Peer:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = Peer()
        return peer

    def peer_heights(self) -> dict[str, int]:
        """How far the other members say they are."""
        return {
            one.name: self._peers[one.name].height if one.name in self._peers else 0
            for one in self.epoch.members
            if one.name != self.name
        }

    # ---- what is said

    def _here(self) -> Here:
        ballot = self.votes.ballots.get(self.view) or Ballot()
        index = self.epoch.index
        return Here(
            self.standing.cluster,
            self.standing.height,
            self.view,
            ballot.has_proposal(self.epoch.quorum),
            ballot.mask(Kind.PREVOTE, index),
            ballot.mask(Kind.PRECOMMIT, index),
            self._stable_height(),
            self.busy(),
        )

    def _stable_height(self) -> int:
        return 0

    def _tick_here(self) -> None:
        since = min(self.now - self._here_at, self.now - self._decided_at)
        stuck = since >= self.settings.here_ticks and self._restless()
        if stuck or self.now - self._here_at >= self.settings.idle_ticks:
            self._here_at = self.now
            self._broadcast(self._here())
        if self._fetching and self.now >= self._fetch_until:
            self._fetch_elsewhere()

    def _acts_at(self) -> int:
        settings = self.settings
        due = min(super()._acts_at(), self._here_at + settings.idle_ticks)
        if self._restless():
            due = min(due, max(self._here_at, self._decided_at) + settings.here_ticks)
        return min(due, self._fetch_until) if self._fetching else due

    def _restless(self) -> bool:
        return self.busy() or bool(self._fetching)

    def _on_here(self, sender: str, message: Here) -> str:
        if message.cluster != self.standing.cluster:
            if sender not in self.strange_clusters:
                self.strange_clusters.add(sender)
                self._event(
                    "cluster",
                    f"{sender} is of another cluster, or began with other voters or keys",
                    sender,
                )
            return self._refuse(Reason.OTHER_CLUSTER, sender)
        self.strange_clusters.discard(sender)
        peer = self._peer(sender)
        peer.height = max(peer.height, message.height) if message.asking else message.height
        if message.height > self.standing.height:
            self._fetch(sender)
        elif message.height < self.standing.height:
            if self.now - peer.answered >= self.settings.here_ticks // 2:
                peer.answered = self.now
                self._send(sender, self._here())
        elif self.now - peer.told >= self.settings.here_ticks // 2:
            peer.told = self.now
            self._tell(sender, message)
        return ""

    def _tell(self, sender: str, message: Here) -> None:
        """Send what it lacks of its view, and what is said in this node's own, if that is a later one."""
        index = self.epoch.index
        if message.view <= self.view:
            ballot = self.votes.ballots.get(message.view)
            if ballot is not None:
                self._tell_ballot(sender, ballot, message, index)
        if message.view < self.view:
            ballot = self.votes.ballots.get(self.view)
            if ballot is not None:
                nothing = Here(message.cluster, message.height, self.view)
                self._tell_ballot(sender, ballot, nothing, index)

    def _tell_ballot(
        self, sender: str, ballot: Ballot, has: Here, index: Mapping[str, int]
    ) -> None:
        proposal = ballot.proposal
        if proposal is not None and not has.proposal and ballot.has_proposal(self.epoch.quorum):
            self._send(sender, proposal)
        for kind, mask in ((Kind.PREVOTE, has.prevotes), (Kind.PRECOMMIT, has.precommits)):
            for name, vote in ballot.votes(kind)[0].items():
                if not mask >> index[name] & 1 and name != sender:
                    self._send(sender, Vote(vote))

    # ---- votes and proposals, of whatever height

    def _on_vote(self, sender: str, message: Vote) -> str:
        return self._at_height(sender, message, message.signed.height)

    def _on_proposal_of(self, sender: str, message: Proposal) -> str:
        return self._at_height(sender, message, message.signed.height)

    def _on_quorum(self, sender: str, message: Quorum) -> str:
        return self._at_height(sender, message, message.certificate.height)

    def _at_height(self, sender: str, message: Vote | Proposal | Quorum, height: int) -> str:
        if height == self.height:
            if isinstance(message, Quorum):
                return self._hear_quorum(message.certificate)
            if isinstance(message, Proposal):
                return self._hear_proposal(message)
            if message.signed.kind == Kind.PROPOSAL:
                return self._hear_proposed(message.signed)
            return self._hear_vote(message.signed)
        if height < self.height:
            if height == self.standing.height and isinstance(message, Vote | Proposal):
                return self._hear_past(message.signed)
            return self._refuse(Reason.LATE)
        if height == self.height + 1:
            self._keep_early(sender, message)
            return ""
        self._fetch(sender)
        return self._refuse(Reason.AHEAD)

    def _keep_early(self, sender: str, message: Vote | Proposal | Quorum) -> None:
        """Of the next height: whoever says it may have decided this one a moment before."""
        peer = self._peer(sender)
        size = _size(message)
        if peer.early and peer.early_bytes + size > _EARLY_BYTES:
            return
        if len(peer.early) == _EARLY:
            gone = peer.early.popleft()
            peer.early_bytes -= _size(gone)
        peer.early.append(message)
        peer.early_bytes += size

    def _replay_early(self) -> None:
        """A height is decided: what came too early for the next one is heard."""
        for name in list(self._peers):
            peer = self._peers[name]
            if not peer.early:
                continue
            held = list(peer.early)
            peer.early.clear()
            peer.early_bytes = 0
            for message in held:
                if isinstance(message, Vote | Proposal):
                    self._at_height(name, message, message.signed.height)
                elif isinstance(message, Quorum):
                    self._at_height(name, message, message.certificate.height)

    # ---- decided blocks

    def _tell_decided(
        self, before: Standing, block: Block, data: bytes, certificate: Certificate
    ) -> None:
        super()._tell_decided(before, block, data, certificate)
        self._decided_at = self.now
        self._recent.append((block.height, data, certificate))
        self._recent_bytes += len(data)
        while self._recent_bytes > self.settings.memory_bytes and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft()[1])

    def _fetch(self, sender: str) -> None:
        """Ask a node for what was decided after this node's height; one at a time."""
        if self._fetching:
            return
        self._fetching = sender
        self._fetch_until = self.now + self.settings.fetch_ticks
        self._send(sender, Fetch(self.height))

    def _fetch_elsewhere(self) -> None:
        """It has not answered: ask another one that says it is ahead."""
        slow, self._fetching = self._fetching, ""
        peer = self._peers.get(slow)
        if peer is not None:
            peer.height = 0  # until it says so again
        ahead = [
            name
            for name, one in self._peers.items()
            if one.height > self.standing.height and name in self.epoch.keys
        ]
        if ahead:
            self._fetch(ahead[self.now % len(ahead)])

    def _on_fetch(self, sender: str, message: Fetch) -> str:
        if message.height > self.standing.height:
            return self._refuse(Reason.AHEAD)
        if self._recent and self._recent[0][0] <= message.height:
            skip = message.height - self._recent[0][0]
            found: list[tuple[bytes, Certificate]] = []
            size = 0
            for at in range(skip, min(len(self._recent), skip + MOST_BLOCKS)):
                _, data, certificate = self._recent[at]
                found.append((data, certificate))
                size += len(data)
                if size >= self.settings.batch_bytes:
                    break
            self._send(sender, Blocks(found))
            return ""
        peer = self._peer(sender)
        if not peer.reading:
            peer.reading = True
            self._blocks_wanted.append(BlocksWanted(sender, message.height))
        return ""

    def blocks_read(self, to: str, blocks: list[tuple[bytes, Certificate]]) -> None:
        """What was read for `BlocksWanted`; nothing where it is compacted."""
        self._peer(to).reading = False
        if blocks:
            self._send(to, Blocks(blocks[:MOST_BLOCKS]))
        else:
            self._offer(to)

    def _offer(self, to: str) -> None:
        """The blocks that a node asks for are not kept any more."""
        del to

    def _on_blocks(self, sender: str, message: Blocks) -> str:
        asked = self._fetching == sender
        before = self.standing.height
        for data, certificate in message.blocks:
            if certificate.height < self.height:
                continue
            if bad := self._take_block(data, certificate):
                return bad
        if asked:
            self._fetching = ""
        if self.standing.height > before:
            self._replay_early()
            if self._peer(sender).height > self.standing.height:
                self._fetch(sender)
        return ""

    def _take_block(self, data: bytes, certificate: Certificate) -> str:
        """A block that others have decided (line 49): 2f + 1 precommits are enough, whoever brings them."""
        if (certificate.kind, certificate.height) != (Kind.PRECOMMIT, self.height):
            return self._refuse(Reason.IMPOSSIBLE, f"a certificate of {certificate.height}")
        if not self._holds(certificate):
            return self._refuse(Reason.CERTIFICATE)
        try:
            block = self._block(certificate.digest, data)
        except BadMessage as error:
            return self._refuse(Reason.BLOCK, str(error))
        if block is None:
            return self._refuse(Reason.BLOCK, "another block than the one that is certified")
        if bad := self._why_not(block):
            return self._refuse(Reason.BLOCK, bad)
        self._decide(block, data, certificate.digest, certificate)
        return ""
