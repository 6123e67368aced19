"""What an engine hands out: what to write, to send, to apply, to read. Plain data; it does none of it."""

from __future__ import annotations

import attrs
import msgspec

from flow_consensus.bft.messages import Checkpoint, Message
from flow_consensus.effects import ReadState, Write
from flowcore.state import LogEntry


@attrs.frozen
class Settled:
    """A request of this node is committed: its commands are at `position` and what follows."""

    number: int
    position: int
    count: int


@attrs.frozen
class BlocksWanted:
    """Blocks to read from the storage, from a height on, and to hand to `engine.blocks_read`."""

    to: str
    height: int


@attrs.frozen
class CheckpointDue:
    """The state's snapshot right after a position is to be stored; its digest goes to `checkpointed`."""

    height: int
    position: int


@attrs.frozen
class Install:
    """A snapshot to take in: pieces come as `Pieces`, are asked for by `engine.want_chunk`."""

    checkpoint: Checkpoint
    height: int
    position: int


@attrs.frozen
class ChunkWanted:
    """A peer asks for a piece of the snapshot of a checkpoint: send it a `Chunk`."""

    to: str
    height: int
    number: int


@attrs.frozen
class Piece:
    """A piece of the snapshot that is being taken in; not to be believed before its digest is."""

    height: int
    number: int
    data: bytes
    last: bool


@attrs.frozen
class Event:
    """Something that a person may want to know."""

    kind: str
    """`view`, `leader`, `epoch`, `evidence`, `accused`, `censored`, `change`, `checkpoint`, `diverged`,
    `snapshot`, `late`, `installed`, `cluster`."""
    text: str
    about: str = ""
    """Whom it is about."""


class Ready(msgspec.Struct, gc=False):
    """What there is to do. Everything may be done at once and in any order."""

    messages: list[tuple[str, Message]]
    """To send, in order. What promises something comes out only when what it promises is durable."""
    write: Write | None
    """None if there is nothing to write, or a write is under way."""
    committed: list[LogEntry]
    """To apply, in order, without gaps; durable, with its certificate."""
    settled: list[Settled]
    lost: list[int]
    """Requests of this node that can never be committed any more."""
    reads: list[ReadState]
    blocks_wanted: list[BlocksWanted]
    checkpoints: list[CheckpointDue]
    install: Install | None
    chunks_wanted: list[ChunkWanted]
    pieces: list[Piece]
    events: list[Event]

    def __bool__(self) -> bool:
        return bool(
            self.messages
            or self.write
            or self.committed
            or self.settled
            or self.lost
            or self.reads
            or self.blocks_wanted
            or self.checkpoints
            or self.install
            or self.chunks_wanted
            or self.pieces
            or self.events
        )
