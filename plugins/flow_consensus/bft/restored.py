"""What a node finds on its disk: what it has promised, what was decided, what it is locked on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import attrs
import msgspec

from flow_consensus.bft.entries import StoredBlock, blocks_of
from flow_consensus.bft.epochs import Count, Epoch
from flow_consensus.bft.messages import Certificate, Checkpoint
from flow_consensus.bft.signing import NO_VIEW
from flow_consensus.bft.standing import Standing, StoredStanding
from flowcore.errors import UntrustedFile
from flowcore.state import LogEntry, SnapshotInfo

_VERSION = 1

_View = Annotated[int, msgspec.Meta(ge=-1, le=2**31)]
_Voted = Annotated[bytes, msgspec.Meta(max_length=32)]


class Promises(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What this node has said at the height that is not decided, and may not take back.

    Views before `view` are over: nothing is said in them any more.
    """

    view: _View = 0
    proposed: _Voted = b""
    """The digest of its proposal in that view; empty for none."""
    prevoted: _Voted = b""
    precommitted: _Voted = b""
    locked_view: _View = NO_VIEW
    locked: _Voted = b""
    valid_view: _View = NO_VIEW
    valid: _Voted = b""
    proof: Certificate | None = None
    """The prevotes that made the valid one valid."""
    lock_proof: Certificate | None = None
    """Those that made this node lock."""


class HardState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What must not be forgotten beside the log, as bytes for the storage."""

    version: int
    node: Annotated[str, msgspec.Meta(max_length=63)]
    """Whose it is: nobody may vote with another one's memory."""
    cluster: Annotated[str, msgspec.Meta(max_length=255)]
    boot: Count
    """How often this node has started, or more: it numbers its requests anew each time."""
    standing: StoredStanding
    certificate: Certificate | None
    """Of the last block that is decided; None before the first, and after a snapshot."""
    promises: Promises
    stable: Checkpoint | None = None
    """The last certified checkpoint."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(HardState)

encode_hard_state = _ENCODER.encode


def encode_about(stable: Checkpoint) -> bytes:
    """What is kept beside another's snapshot: what proves it."""
    return msgspec.msgpack.encode(stable)


def decode_about(data: bytes) -> Checkpoint:
    """Raises UntrustedFile."""
    try:
        return msgspec.msgpack.decode(data, type=Checkpoint)
    except msgspec.MsgspecError as error:
        raise UntrustedFile(f"what is said of the snapshot cannot be read: {error}") from None


class Restored:
    """Fed with what a storage holds, then given to an `Engine`, once.

        restored = Restored(genesis, cluster, storage.hard_state, storage.compacted, node="alpha")
        restored.add(entries)     # from `restored.first` to the last, in order
        engine = Engine("alpha", restored, sign, settings)

    `genesis` is that of the very first start, and means nothing once something is stored. Raises
    UntrustedFile for what is another's, and what no engine can have written.
    """

    def __init__(
        self,
        genesis: Epoch | None,
        cluster: str,
        hard_state: bytes = b"",
        compacted: tuple[int, int] = (0, 0),
        snapshot: SnapshotInfo | None = None,
        *,
        node: str,
    ) -> None:
        self.node = node
        self.cluster = cluster
        self.fresh = not hard_state
        """Whether nothing was ever written here."""
        self.boot = 0
        self.certificate: Certificate | None = None
        self.promises = Promises()
        self.stable: Checkpoint | None = None
        self.start = compacted[0]
        self.reset: tuple[int, int] | None = None
        """(position, height) if the log has to be let go of for a snapshot, before anything else."""
        self.tail: StoredBlock | None = None
        """The block beyond what is decided: this node has precommitted it."""
        if hard_state:
            self.standing = self._taken(hard_state)
        elif genesis is None:
            raise ValueError("a node that has nothing stored needs the first voters")
        else:
            begun = Standing.first(genesis.cluster(cluster, self.start), genesis)
            if snapshot is not None and snapshot.position == self.start:
                # an operator has put it there, on each node: a new cluster of the configured voters
                begun = attrs.evolve(begun, position=self.start, height=compacted[1])
            self.standing = begun
        if self.start > self.standing.position and snapshot is not None:
            self._after_snapshot(snapshot)
        if self.start > self.standing.position:
            raise UntrustedFile(
                f"the log begins after {self.start}, and {self.standing.position} was decided"
            )
        self.first = self.standing.position + 1
        """The first entry that has to be added."""

    def _after_snapshot(self, snapshot: SnapshotInfo) -> None:
        """The log was let go of for another's snapshot, and the node stopped before it had said so."""
        if snapshot.position != self.start or not snapshot.about:
            return
        stable = decode_about(snapshot.about)
        try:
            self.standing = Standing.decode(stable.standing)
        except ValueError as error:
            raise UntrustedFile(f"the snapshot's standing cannot be read: {error}") from None
        self.stable, self.certificate, self.promises = stable, None, Promises()

    def _taken(self, hard_state: bytes) -> Standing:
        try:
            stored = _DECODER.decode(hard_state)
            standing = Standing.of(stored.standing)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UntrustedFile(f"the hard state cannot be read: {error}") from None
        if stored.version != _VERSION:
            raise UntrustedFile(
                f"the hard state is of version {stored.version}, and this is {_VERSION}"
            )
        if stored.node != self.node:
            raise UntrustedFile(f"the log is of node {stored.node!r}, and this is {self.node!r}")
        if stored.cluster != self.cluster:
            raise UntrustedFile(
                f"the log is of cluster {stored.cluster!r}, and this is {self.cluster!r}"
            )
        self.boot = stored.boot
        self.certificate = stored.certificate
        self.promises = stored.promises
        self.stable = stored.stable
        return standing

    def add(self, entries: Iterable[LogEntry]) -> None:
        """Entries; beyond what is decided there is the block that is locked, or nothing."""
        held = [one for one in entries if one.position >= self.first]
        if not held:
            return
        found = blocks_of(held)
        if found and held[0].position == self.first:
            self.tail = found[0]

    def check(self) -> None:
        """All is there: whoever is locked has its block. Raises UntrustedFile."""
        promises = self.promises
        if promises.locked_view > NO_VIEW and (
            self.tail is None or self.tail.digest != promises.locked
        ):
            raise UntrustedFile(
                "the block that this node is locked on is not in the log: its end is lost"
            )
