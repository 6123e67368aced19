"""What all parts of the engine share: who we are, where the log is, what is signed, what goes out."""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict

import attrs

from flow_consensus.bft.blocks import (
    Block,
    Change,
    Evidence,
    Request,
    Signed,
    block_digest,
    change_statement,
    decode_block,
    request_statement,
)
from flow_consensus.bft.effects import (
    BlocksWanted,
    CheckpointDue,
    ChunkWanted,
    Event,
    Install,
    Piece,
    Settled,
)
from flow_consensus.bft.entries import entries_of
from flow_consensus.bft.epochs import Epoch
from flow_consensus.bft.messages import (
    Certificate,
    Message,
    in_order,
)
from flow_consensus.bft.pool import Pool
from flow_consensus.bft.restored import Promises, Restored
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import (
    NO_VIEW,
    Claim,
    Ed25519,
    Kind,
    Scheme,
    Sign,
    Signatures,
    statement,
)
from flow_consensus.bft.standing import Standing
from flow_consensus.effects import ReadState
from flowcore.state import Ahead, LogEntry

_DECODED = 8
"""Blocks whose bytes were read and checked lately."""
_EVENTS = 1000
_NEVER = 2**62


class Reason(enum.StrEnum):
    """Why a message was not taken; each is counted in `Engine.refused`."""

    STRANGER = "not a member"
    NOT_VOTER = "not signed by a voter"
    OTHER_CLUSTER = "of another cluster, or another first set of voters"
    OTHER_EPOCH = "of another epoch"
    LATE = "of a height or view that is over"
    AHEAD = "too far ahead"
    SIGNATURE = "a signature that does not hold"
    CERTIFICATE = "a certificate that does not hold"
    NOT_PROPOSER = "not from who leads the view"
    CONTRADICTION = "a second statement of one voter in one view"
    BLOCK = "a block that may not follow"
    REQUEST = "a request that cannot be taken"
    UNFIT = "a command of a time that has not come, or no command at all"
    NOT_ASKED = "not asked for"
    IMPOSSIBLE = "what no node says"
    DISK_FAILED = "the disk has failed"


class Refused(Exception):
    """What was asked of the engine cannot be done now; nothing has happened."""

    def __init__(self, why: str, *, busy: bool = False) -> None:
        super().__init__(why)
        self.busy = busy
        """Whether it may be done a little later."""


@attrs.define(eq=False)
class Decided:
    """A block that is decided and not yet durable here with its certificate."""

    entries: list[LogEntry]
    settled: list[Settled]
    due: CheckpointDue | None


class Core:
    """See `engine.Engine`."""

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings,
        scheme: Scheme | None,
    ) -> None:
        restored.check()
        self.name = name
        self.cluster = restored.cluster
        self.settings = settings
        self.standing: Standing = restored.standing
        """What was decided."""
        self.certificate = restored.certificate
        """Of the last decided block; None before the first, and after a snapshot."""
        self.start = restored.start
        """The log begins after this position."""
        self.now = 0
        """Ticks since the engine began."""
        self.failed = ""
        self.refused: Counter[str] = Counter()
        self.signatures = Signatures(scheme or Ed25519())
        self.pool = Pool(settings)
        self.evidence: dict[str, Evidence] = {}
        """What is known and not in a block yet, by who is accused."""
        self._ahead: Ahead | None = None
        self._sign = sign
        self._decoded: OrderedDict[bytes, tuple[bytes, Block]] = OrderedDict()
        # what goes out
        self._outbox: list[tuple[str, Message]] = []
        self._held: list[Message] = []
        self._dirty = True
        """Something must be written that somebody waits for."""
        self._late = False
        """Something should be written, and nobody waits for it."""
        self._writes = 0
        self._durable = 0
        """The last write that is durable."""
        self._entries: list[LogEntry] = []
        self._decided: list[Decided] = []
        self._committed: list[LogEntry] = []
        self._settled: list[Settled] = []
        self._lost: list[int] = []
        self._checkpoints: list[CheckpointDue] = []
        self._read_states: list[ReadState] = []
        self._blocks_wanted: list[BlocksWanted] = []
        self._chunks_wanted: list[ChunkWanted] = []
        self._pieces: list[Piece] = []
        self._install: Install | None = None
        self._events: list[Event] = []
        self._reset: tuple[int, int] | None = None
        self._compact: int | None = None

    # ---- who

    @property
    def epoch(self) -> Epoch:
        """Who decides the next height."""
        return self.standing.epoch

    @property
    def height(self) -> int:
        """The height that is being decided."""
        return self.standing.height + 1

    @property
    def votes_here(self) -> bool:
        """Whether this node is a voter, and may vote."""
        return self.name in self.epoch.index and not self.failed

    # ---- what may be decided at all

    def check_by(self, ahead: Ahead) -> None:
        """From now on commands that are none, or of a time that has not come, are not taken of others.

        What this node asks for itself is for the others to look at.
        """
        self._ahead = ahead
        self.pool.drop(lambda one: one.origin != self.name and self._unfit(one))

    def _unfit(self, request: Request, times: int = 1) -> bool:
        """Whether a request has a command that should not be decided, now or ever."""
        ahead, most = self._ahead, times * self.settings.ahead
        return ahead is not None and any(ahead(one) > most for one in request.commands)

    # ---- what is signed

    def statement(
        self, kind: Kind, epoch: int, height: int, view: int, valid: int, of: bytes
    ) -> bytes:
        """The bytes of a statement, bound to this cluster."""
        return statement(kind, self.standing.cluster, epoch, height, view, valid, of)

    def _signed(
        self, kind: Kind, height: int, view: int, of: bytes, valid: int = NO_VIEW
    ) -> Signed:
        """A statement of this node's."""
        epoch = self.epoch.number
        said = self.statement(kind, epoch, height, view, valid, of)
        signature = self._sign(said)
        self.signatures.own(Claim(self.epoch.keys[self.name], said, signature))
        return Signed(kind, epoch, height, view, valid, of, self.name, signature)

    def _claim(self, signed: Signed, epoch: Epoch) -> Claim:
        said = self.statement(
            Kind(signed.kind), signed.epoch, signed.height, signed.view, signed.valid, signed.digest
        )
        return Claim(epoch.keys[signed.signer], said, signed.signature)

    def _signed_ok(self, signed: Signed) -> bool:
        """Whether a voter of this epoch has signed it."""
        epoch = self.epoch
        if signed.signer not in epoch.index:
            return False
        return self.signatures.holds(self._claim(signed, epoch))

    def _request_claim(self, request: Request) -> Claim:
        said = request_statement(self.standing.cluster, request)
        return Claim(self.epoch.keys[request.origin], said, request.signature)

    def _request_ok(self, request: Request) -> bool:
        """Whether its node has signed it."""
        return request.origin in self.epoch.keys and self.signatures.holds(
            self._request_claim(request)
        )

    def _evidence_claims(self, evidence: Evidence) -> list[Claim]:
        return [self._claim(one, self.epoch) for one in (evidence.first, evidence.second)]

    def _proven(self, evidence: Evidence) -> bool:
        """Whether the accused, a voter, has signed both."""
        return evidence.accused in self.epoch.index and all(
            map(self.signatures.holds, self._evidence_claims(evidence))
        )

    def _endorsed(self, change: Change) -> bool:
        """Whether f + 1 voters want it."""
        names = [one.signer for one in change.endorsements]
        return (
            names == sorted(set(names))
            and len(names) >= self.epoch.some_honest
            and self._endorsements_ok(change)
        )

    def _endorsements_ok(self, change: Change) -> bool:
        said = change_statement(self.standing.cluster, change)
        return all(
            one.signer in self.epoch.index
            and self.signatures.holds(Claim(self.epoch.keys[one.signer], said, one.signature))
            for one in change.endorsements
        )

    def _certificate_claims(self, certificate: Certificate, epoch: Epoch) -> list[Claim]:
        said = self.statement(
            Kind(certificate.kind),
            certificate.epoch,
            certificate.height,
            certificate.view,
            NO_VIEW,
            certificate.digest,
        )
        voters = epoch.voters
        return [
            Claim(epoch.keys[voters[at]], said, signature)
            for at, signature in certificate.signatures
            if at < len(voters)
        ]

    def _holds(self, certificate: Certificate, epoch: Epoch | None = None) -> bool:
        """Whether a quorum of an epoch has signed what a certificate says."""
        epoch = epoch or self.epoch
        signatures = certificate.signatures
        if certificate.epoch != epoch.number or len(signatures) < epoch.quorum:
            return False
        if not in_order(signatures) or signatures[-1][0] >= len(epoch.voters):
            return False
        return all(map(self.signatures.holds, self._certificate_claims(certificate, epoch)))

    # ---- blocks

    def _block(self, digest: bytes, data: bytes) -> Block | None:
        """A block by its bytes, if that is its digest. Raises BadMessage for what is no block."""
        found = self._decoded.get(digest)
        if found is not None and found[0] == data:
            self._decoded.move_to_end(digest)
            return found[1]
        if block_digest(data) != digest:
            return None
        block = decode_block(data)
        self.know_block(digest, data, block)
        return block

    def know_block(self, digest: bytes, data: bytes, block: Block) -> None:
        """A block was read already, and this is its digest."""
        self._decoded[digest] = (data, block)
        if len(self._decoded) > _DECODED:
            self._decoded.popitem(last=False)

    def _why_not(self, block: Block) -> str:
        """Why a block may not follow what was decided; empty if it may: `valid(v)`."""
        return self.standing.why_not(block, self._request_ok, self._proven, self._endorsed)

    def _store(self, block: Block) -> list[LogEntry]:
        """Have a block's entries in the next write, in the place of what stands there."""
        made = entries_of(block, self.certificate)
        first = made[0].position
        self._entries = [one for one in self._entries if one.position < first] + made
        self._dirty = True
        return made

    # ---- out

    def _send(self, to: str, message: Message) -> None:
        if to != self.name:
            self._outbox.append((to, message))

    def _broadcast(self, message: Message) -> None:
        for one in self.epoch.members:
            if one.name != self.name:
                self._outbox.append((one.name, message))

    def _broadcast_voters(self, message: Message) -> None:
        for name in self.epoch.voters:
            if name != self.name:
                self._outbox.append((name, message))

    def _promise(self, message: Message) -> None:
        """Send to all once what it promises is durable; this node hears it then, too."""
        self._held.append(message)
        self._dirty = True

    def _refuse(self, reason: Reason, more: str = "") -> str:
        self.refused[str(reason)] += 1
        return f"{reason}: {more}" if more else str(reason)

    def _event(self, kind: str, text: str, about: str = "") -> None:
        if len(self._events) < _EVENTS:
            self._events.append(Event(kind, text, about))

    # ---- time

    def _acts_at(self) -> int:
        """The tick in which time alone makes this node do something, at the latest: each part has its own."""
        return self._beat(self.settings.here_ticks) if self._late else _NEVER

    def _beat(self, every: int) -> int:
        """The next tick of those that are so many apart."""
        return self.now + every - self.now % every


__all__ = ["Core", "Decided", "Promises", "Reason", "Refused"]
