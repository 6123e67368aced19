"""What all that was decided comes to: the same on every honest node at one height.

It is small, is kept with each write, and is part of what a checkpoint certifies. `after` gives the standing
after a block; `why_not` tells why a block may not follow. Both are functions of the standing and the block
alone (`valid(v)` of Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import attrs
import msgspec

from flow_consensus.bft.blocks import Block, Change, Evidence, Height, Request
from flow_consensus.bft.epochs import Count, Digest, Epoch, Name, Stored
from flow_consensus.bft.signing import NIL

_Position = Annotated[int, msgspec.Meta(ge=0, le=2**56)]


class StoredStanding(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A standing as bytes."""

    cluster: Digest
    height: Height
    position: _Position
    digest: Digest
    leader: Annotated[str, msgspec.Meta(max_length=63)]
    epoch: Stored
    counters: Annotated[list[tuple[Name, Count, Count]], msgspec.Meta(max_length=4096)]
    accused: Annotated[list[Evidence], msgspec.Meta(max_length=4096)]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(StoredStanding)


@attrs.frozen(kw_only=True)
class Standing:
    """Where the log is after a block."""

    cluster: bytes
    height: int
    position: int
    """Of its last entry."""
    digest: bytes
    """Of the block, and so of all before it."""
    leader: str
    """Who made the block: the next height's first view is its own. "" before the first."""
    epoch: Epoch
    """The one of the next height."""
    counters: Mapping[str, tuple[int, int]]
    """By node: the boot and the number of its last request."""
    accused: Mapping[str, Evidence]
    """Who was shown to have contradicted itself, and how; the first evidence of each."""

    @classmethod
    def first(cls, cluster: bytes, epoch: Epoch) -> Standing:
        """Before anything was decided."""
        return cls(
            cluster=cluster,
            height=0,
            position=0,
            digest=NIL,
            leader="",
            epoch=epoch,
            counters={},
            accused={},
        )

    def proposer(self, view: int) -> str:
        """Who leads a view of the next height: `proposer(h, round)` of Algorithm 1.

        Whoever made the last block goes on, so that a leader stays while it does its work; each view that
        fails passes the lead to the next voter by name. Who was shown to have lied is left out, as long as
        it leaves anybody.
        """
        voters = self.epoch.voters
        trusted = [one for one in voters if one not in self.accused] or list(voters)
        begin = 0
        if self.leader in trusted:
            begin = trusted.index(self.leader)
        else:  # gone, or not trusted any more: whoever comes after it
            begin = next((at for at, one in enumerate(trusted) if one > self.leader), 0)
        return trusted[(begin + view) % len(trusted)]

    def follows(self, request: Request) -> bool:
        """Whether it is the next one of its node."""
        boot, number = self.counters.get(request.origin, (-1, 0))
        if request.boot == boot:
            return request.number == number + 1
        return request.boot > boot and request.number == 1

    def passed(self, origin: str, boot: int, number: int) -> bool:
        """Whether a request is committed, or can never be any more."""
        last_boot, last = self.counters.get(origin, (-1, 0))
        return boot < last_boot or (boot == last_boot and number <= last)

    def why_not(
        self,
        block: Block,
        signed: Callable[[Request], bool],
        proven: Callable[[Evidence], bool],
        endorsed: Callable[[Change], bool],
    ) -> str:
        """Why a block cannot be the next one; empty if it can. Signatures are checked last."""
        epoch = self.epoch
        if block.cluster != self.cluster:
            return "of another cluster"
        if (block.epoch, block.height) != (epoch.number, self.height + 1):
            return f"of epoch {block.epoch}, height {block.height}"
        if block.parent != self.digest or block.position != self.position + 1:
            return "it does not follow what was decided"
        if block.creator not in epoch.index:
            return f"made by {block.creator!r}, no voter"
        if not (block.requests or block.changes or block.evidence):
            return "it is empty"
        counters = dict(self.counters)
        for request in block.requests:
            if request.origin not in epoch.keys:
                return f"a request of {request.origin!r}, no member"
            boot, number = counters.get(request.origin, (-1, 0))
            expected = number + 1 if request.boot == boot else 1
            if request.boot < boot or request.number != expected:
                return (
                    f"request {request.boot}/{request.number} of {request.origin!r} is not its next"
                )
            if not all(request.commands):
                return f"an empty command of {request.origin!r}"
            counters[request.origin] = (request.boot, request.number)
        accused: set[str] = set()
        for one in block.evidence:
            if bad := one.impossible():
                return f"evidence that proves nothing: {bad}"
            if one.accused in self.accused or one.accused in accused:
                return f"{one.accused!r} is accused already"
            if one.accused not in epoch.index:
                return f"{one.accused!r} is accused, no voter"
            accused.add(one.accused)
        for change in block.changes:
            if change.epoch != epoch.number:
                return f"a change of epoch {change.epoch}"
            try:
                epoch.changed(change.add, change.remove)
            except ValueError as error:
                return f"a change that cannot be: {error}"
        if not all(map(signed, block.requests)):
            return "a request that its node has not signed"
        if not all(map(proven, block.evidence)):
            return "evidence that the accused has not signed"
        if not all(map(endorsed, block.changes)):
            return "a change that no honest voter is known to want"
        return ""

    def after(self, block: Block, digest: bytes) -> Standing:
        """The standing after a block that may follow."""
        counters = dict(self.counters)
        for request in block.requests:
            counters[request.origin] = (request.boot, request.number)
        accused = dict(self.accused)
        for one in block.evidence:
            accused[one.accused] = one
        epoch = self.epoch
        for change in block.changes:
            epoch = epoch.changed(change.add, change.remove)
        if epoch.exclude:
            left = epoch.without(accused)
            if left is not None:
                epoch = left if epoch is self.epoch else attrs.evolve(left, number=epoch.number)
        return Standing(
            cluster=self.cluster,
            height=block.height,
            position=block.last,
            digest=digest,
            leader=block.creator,
            epoch=epoch,
            counters=counters,
            accused=accused,
        )

    def checkpoint_after(self, block: Block) -> bool:
        """Whether the state after a block is to be certified: the same blocks on every node."""
        every = self.epoch.checkpoint
        return block.last // every > self.position // every

    def encode(self) -> bytes:
        """The same bytes for the same standing, on every node."""
        return _ENCODER.encode(self.stored())

    def stored(self) -> StoredStanding:
        """As a part of something larger."""
        return StoredStanding(
            self.cluster,
            self.height,
            self.position,
            self.digest,
            self.leader,
            self.epoch.stored(),
            [(name, *self.counters[name]) for name in sorted(self.counters)],
            [self.accused[name] for name in sorted(self.accused)],
        )

    @classmethod
    def of(cls, stored: StoredStanding) -> Standing:
        """Raises ValueError."""
        return cls(
            cluster=stored.cluster,
            height=stored.height,
            position=stored.position,
            digest=stored.digest,
            leader=stored.leader,
            epoch=Epoch.of(stored.epoch),
            counters={name: (boot, number) for name, boot, number in stored.counters},
            accused={one.accused: one for one in stored.accused},
        )

    @classmethod
    def decode(cls, data: bytes) -> Standing:
        """Raises ValueError."""
        try:
            return cls.of(_DECODER.decode(data))
        except msgspec.MsgspecError as error:
            raise ValueError(f"no standing: {error}") from None


def first_positions(block: Block) -> Sequence[tuple[Request, int]]:
    """Each request with the position of its first command."""
    found = []
    position = block.position + 1
    for request in block.requests:
        found.append((request, position))
        position += len(request.commands)
    return found
