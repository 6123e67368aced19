"""The engine: ticks, messages and calls in, a batch of effects out. Sans-IO.

    engine = Engine("alpha", restored, sign, EngineSettings())
    engine.tick()                                  # time passes
    engine.step("beta", message)                   # a message came
    engine.propose([b"a command"])                 # on any node
    while ready := engine.ready():
        send(ready.messages)                       # at once, while the disk works
        write(ready.write)                         # then engine.persisted(ready.write.number)
        apply(ready.committed)

It decides as Tendermint does (`agreement`). What it never does: raise for a message, whatever is in it; say
what is not durable; ask for the time or for chance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from flow_consensus.bft.blocks import Block
from flow_consensus.bft.changes import Changes
from flow_consensus.bft.core import Decided, Reason
from flow_consensus.bft.deciding import Step
from flow_consensus.bft.effects import Ready
from flow_consensus.bft.epochs import Epoch
from flow_consensus.bft.messages import (
    Accuse,
    Ask,
    Blocks,
    Certificate,
    Chunk,
    Endorse,
    Fetch,
    FetchChunk,
    Here,
    Message,
    Offer,
    Proposal,
    Quorum,
    Read,
    ReadAnswer,
    Stable,
    Vote,
)
from flow_consensus.bft.restored import HardState, Restored, encode_hard_state
from flow_consensus.bft.settings import EngineSettings
from flow_consensus.bft.signing import Kind, Scheme, Sign
from flow_consensus.bft.standing import Standing
from flow_consensus.effects import Write

_TO_ANYBODY = Here | Fetch | Blocks | Offer | FetchChunk | Chunk
"""What who is no member (yet) may ask, and may be answered: what was decided proves itself."""


@attrs.frozen(kw_only=True)
class Status:
    """A node as it is now."""

    name: str
    height: int
    """The last that is decided here."""
    position: int
    start: int
    view: int
    """Of the next height."""
    step: Step
    leader: str
    """Of that view."""
    locked_view: int
    epoch: Epoch
    peers: dict[str, int]
    waiting: int
    """Requests of all nodes that wait here."""
    checkpoint: int
    failed: str
    refused: dict[str, int]
    accused: dict[str, str]
    """Who has contradicted itself, and how."""


class Engine(Changes):
    """One node of one cluster.

    What is public here and in the classes below it is the interface: `tick`, `step`, `propose`, `read`,
    `forget_read`, `change`, `endorsed`, `compact`, `ready`, `persisted`, `disk_failed`, `blocks_read`,
    `checkpointed`, `chunk_gone`, `piece_stored`, `installed`, `install_failed`, `claims`, `admit`,
    `check_by`, `know_block`, `calm`, `status`.
    """

    def __init__(
        self,
        name: str,
        restored: Restored,
        sign: Sign,
        settings: EngineSettings | None = None,
        *,
        scheme: Scheme | None = None,
        boot: int = 0,
    ) -> None:
        """`boot` is more than in any life before, as far as is known; what is stored counts, too."""
        self._begin_reads()
        self._begin_checkpoints(restored.stable)
        self._begin_changes()
        self._writing = 0
        self._flying: list[Message] = []
        self._flying_boot = 0
        self._flying_decided: list[Decided] = []
        super().__init__(name, restored, sign, settings or EngineSettings(), scheme, boot)
        handlers: dict[type[Any], Callable[[str, Any], str]] = {
            Ask: self._on_ask,
            Proposal: self._on_proposal_of,
            Vote: self._on_any_vote,
            Quorum: self._on_quorum,
            Here: self._on_here_of,
            Fetch: self._on_fetch,
            Blocks: self._on_blocks,
            Offer: self._on_offer,
            FetchChunk: self._on_fetch_chunk,
            Chunk: self._on_chunk,
            Read: self._on_read,
            ReadAnswer: self._on_read_answer,
            Accuse: self._on_accuse,
            Endorse: self._on_endorse,
            Stable: self._on_stable,
        }
        self._handlers = handlers

    # ---- in

    def step(self, sender: str, message: Message) -> str:
        """A message came from a node, whose name is authentic. Gives "" if it was taken, or why it was not.

        Whatever is in it, nothing is raised; what is not taken is counted in `refused`.
        """
        if self.failed:
            return self._refuse(Reason.DISK_FAILED)
        if sender == self.name:
            return self._refuse(Reason.IMPOSSIBLE, "from this node itself")
        if sender not in self.epoch.keys and not isinstance(message, _TO_ANYBODY):
            return self._refuse(Reason.STRANGER, sender)
        handler = self._handlers.get(type(message))
        if handler is None:
            return self._refuse(Reason.IMPOSSIBLE, f"a {type(message).__name__}")
        height = self.standing.height
        said = handler(sender, message)
        if self.standing.height != height:
            self._replay_early()
        return said

    def _on_any_vote(self, sender: str, message: Vote) -> str:
        if message.signed.kind == Kind.CHECKPOINT:
            return self._on_checkpoint_vote(sender, message)
        return self._on_vote(sender, message)

    def _on_here_of(self, sender: str, message: Here) -> str:
        if (
            self.stable is not None
            and message.cluster == self.standing.cluster
            and message.checkpoint < self._stable_height() <= message.height
        ):
            self._send(sender, Stable(self.stable))
        return self._on_here(sender, message)

    def _on_accuse(self, sender: str, message: Accuse) -> str:
        evidence = message.evidence
        accused = evidence.accused
        if accused in self.evidence or accused in self.standing.accused:
            return ""
        if bad := evidence.impossible():
            return self._refuse(Reason.IMPOSSIBLE, bad)
        if accused == self.name or not self._proven(evidence):
            return self._refuse(Reason.SIGNATURE, sender)
        self._accuse(evidence)
        return ""

    @property
    def calm(self) -> int:
        """Ticks, 1 at least, until one of them may make this node do something of its own."""
        return self.settings.idle_ticks if self.failed else max(1, self._acts_at() - self.now)

    def tick(self) -> None:
        """Time passes: one tick."""
        self.now += 1
        if self.failed:
            return
        self._dirty = self._dirty or (self._late and self.now % self.settings.here_ticks == 0)
        self._propose()
        self._tick_views()
        self._tick_relay()
        self._tick_here()
        self._tick_requests()
        self._tick_reads()
        self._tick_checkpoints()
        self._tick_changes()

    def compact(self, position: int) -> int:
        """The state has everything up to a position durably: let go of the log up to it, by the next write.

        Gives up to where: whole blocks, and no further than the last certified checkpoint, for a node that
        needs what is gone needs that in its place.
        """
        stable = self._stable_standing
        most = 0 if stable is None else stable.position
        if position >= most > self.start and most > (self._compact or 0):
            self._compact = most
            self._dirty = True
        return max(self._compact or 0, self.start)

    def _tell_decided(
        self, before: Standing, block: Block, data: bytes, certificate: Certificate
    ) -> None:
        super()._tell_decided(before, block, data, certificate)
        if self.standing.epoch.number != before.epoch.number:
            self._forget_changes()
        self._finish_reads()

    # ---- out

    def ready(self) -> Ready:
        """Everything there is to do. False if there is nothing."""
        ready = Ready(
            [],
            self._next_write(),
            self._committed,
            self._settled,
            self._lost,
            self._read_states,
            self._blocks_wanted,
            self._checkpoints,
            self._install,
            self._chunks_wanted,
            self._pieces,
            self._events,
        )
        ready.messages = self._outbox
        self._outbox = []
        self._committed, self._settled, self._lost = [], [], []
        self._read_states, self._blocks_wanted, self._checkpoints = [], [], []
        self._chunks_wanted, self._pieces, self._events = [], [], []
        self._install = None
        return ready

    def _next_write(self) -> Write | None:
        if self._writing or self.failed or not (self._dirty or self._entries):
            return None
        self._writes += 1
        self._writing = self._writes
        self._flying, self._held = self._held, []
        self._flying_boot = self.boot
        self._flying_decided, self._decided = list(self._decided), []
        entries, self._entries = self._entries, []
        reset, self._reset = self._reset, None
        compact, self._compact = self._compact, None
        if compact is not None:
            self.start = max(self.start, compact)
        self._dirty = self._late = False
        return Write(self._writing, entries, self._hard_state(), reset, compact)

    def _hard_state(self) -> bytes:
        """All that must not be forgotten, as it is now."""
        return encode_hard_state(
            HardState(
                1,
                self.name,
                self.cluster,
                self.boot,
                self.standing.stored(),
                self.certificate,
                self.promises(),
                self.stable,
            )
        )

    def _pending(self) -> bool:
        return super()._pending() or bool(self._flying_decided)

    def persisted(self, number: int) -> None:
        """A write is durable: what waited for it goes out.

        Raises ValueError for a write that is not under way.
        """
        if number != self._writing or not number:
            raise ValueError(f"write {number} is not under way, {self._writing or 'none'} is")
        self._writing = 0
        if self.failed:
            return
        self._boot_durable = self._flying_boot == self.boot
        self._durable = number
        for one in self._flying_decided:
            self._hand_out(one)
        self._flying_decided = []
        flying, self._flying = self._flying, []
        for message in flying:
            self._say(message)
        height = self.standing.height
        for message in flying:
            self._heard_own(message)
        if self.standing.height != height:
            self._replay_early()

    def disk_failed(self, why: str) -> None:
        """What was written may be there or not: this node votes and proposes no more.

        There is no way back but to start again, from what the disk then holds.
        """
        super().disk_failed(why)
        self._held.clear()
        self._flying.clear()

    # ---- to look at

    @property
    def leader(self) -> str:
        """Who leads the present view."""
        return self.standing.proposer(self.view)

    def status(self) -> Status:
        """What is true of it now."""
        accused = {**self.standing.accused, **self.evidence}
        return Status(
            name=self.name,
            height=self.standing.height,
            position=self.standing.position,
            start=self.start,
            view=self.view,
            step=self.phase,
            leader=self.leader,
            locked_view=self.locked_view,
            epoch=self.epoch,
            peers=self.peer_heights(),
            waiting=len(self.pool),
            checkpoint=self._stable_height(),
            failed=self.failed,
            refused=dict(self.refused),
            accused={
                name: f"two {Kind(one.first.kind).name.lower()}s of height {one.first.height}, view"
                f" {one.first.view}"
                for name, one in sorted(accused.items())
            },
        )
