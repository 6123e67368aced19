"""What an engine hands out: what to write, to send, to apply, to read. Plain data; it does none of it."""

from __future__ import annotations

from typing import TypeAlias

import attrs
import msgspec

from flow_consensus.effects import ReadState, Write
from flow_consensus.raft.membership import Membership
from flow_consensus.raft.messages import Message
from flowcore.state import LogEntry, SnapshotInfo


@attrs.frozen
class Fetch:
    """Entries to read from the storage, and to hand to `engine.fetched`; they are for a follower."""

    to: str
    first: int
    last: int
    limit: int
    """Bytes of data, about."""


@attrs.frozen
class ChunkWanted:
    """A piece of the newest snapshot to hand to `engine.chunk_read`.

    Number 0 begins (again), with the newest one there is; any other is the one after the last that was handed
    over. There must be a snapshot at `at_least` or later: what is before the log begins is only in it.
    """

    to: str
    number: int
    at_least: int


@attrs.frozen
class ChunkStored:
    """A piece of another's snapshot to store, and to confirm by `engine.chunk_stored`.

    Number 0 begins a new one, and lets go of what was begun before. The last one is confirmed when the whole
    snapshot is durable.
    """

    info: SnapshotInfo
    number: int
    data: bytes
    last: bool


@attrs.frozen
class RoleChanged:
    """This node is now follower, pre-candidate, candidate or leader."""

    role: str
    term: int
    why: str


@attrs.frozen
class LeaderChanged:
    """Another leader is known; "" for none."""

    leader: str
    term: int


@attrs.frozen
class MembershipChanged:
    """Another configuration is in force on this node; committed or not."""

    position: int
    membership: Membership


Event: TypeAlias = RoleChanged | LeaderChanged | MembershipChanged


class Ready(msgspec.Struct, gc=False):
    """What there is to do. Everything may be done at once and in any order."""

    messages: list[tuple[str, Message]]
    """To send, in order. What promises something comes out only when what it promises is durable, so
    none of them needs to wait for `write`: appends of a leader go while it writes itself (section 10.2.1)."""
    write: Write | None
    """None if there is nothing to write, or a write is under way."""
    committed: list[LogEntry]
    """To apply, in order, without gaps: after what was committed when the engine began, or `snapshot`."""
    reads: list[ReadState]
    snapshot: SnapshotInfo | None
    """Stored, and to be put in the place of the state, before `committed` is applied."""
    fetches: list[Fetch]
    chunks_wanted: list[ChunkWanted]
    chunk: ChunkStored | None
    events: list[Event]

    def __bool__(self) -> bool:
        return bool(
            self.messages
            or self.write
            or self.committed
            or self.reads
            or self.snapshot
            or self.fetches
            or self.chunks_wanted
            or self.chunk
            or self.events
        )
