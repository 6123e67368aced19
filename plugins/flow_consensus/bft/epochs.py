"""Who decides, and with which keys: one epoch after another, each begun by a block of the one before.

A block that changes who takes part is decided by the old voters; the next height is the new ones'. Nothing
else changes an epoch, so all honest nodes that are at one height are in one epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

import attrs
import msgspec

from flow_consensus.bft import quorums
from flow_consensus.bft.signing import digest

MOST_MEMBERS = 48
"""Members of a cluster: each vote goes to all of them."""

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Key: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who takes part."""

    name: Name
    key: Key
    """The Ed25519 public key; who takes the name with another key is another."""
    voter: bool = True
    """Whether it votes; else it learns what was decided, and may ask for more."""


class Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An epoch as bytes."""

    number: Count
    members: Annotated[list[Member], msgspec.Meta(max_length=MOST_MEMBERS)]
    exclude: bool
    checkpoint: Annotated[int, msgspec.Meta(ge=1, le=2**32)]


@attrs.frozen(kw_only=True)
class Epoch:
    """One set of members, and what they have agreed upon."""

    number: int
    members: tuple[Member, ...]
    """In the order of their names, each once."""
    exclude: bool
    """Whether a voter that was shown to have lied is left out."""
    checkpoint: int
    """Entries between two checkpoints."""

    voters: tuple[str, ...] = attrs.field(init=False, eq=False)
    keys: Mapping[str, bytes] = attrs.field(init=False, eq=False, repr=False)
    index: Mapping[str, int] = attrs.field(init=False, eq=False, repr=False)
    """A voter's place among the voters."""
    quorum: int = attrs.field(init=False, eq=False)
    """How many votes make a certificate."""
    some_honest: int = attrs.field(init=False, eq=False)
    """f + 1."""

    def __attrs_post_init__(self) -> None:
        names = [one.name for one in self.members]
        if names != sorted(set(names)):
            raise ValueError(f"expected members in order, each once, not {names!r}")
        voters = tuple(one.name for one in self.members if one.voter)
        quorums.check(len(voters))
        put = object.__setattr__
        put(self, "voters", voters)
        put(self, "keys", {one.name: one.key for one in self.members})
        put(self, "index", {name: at for at, name in enumerate(voters)})
        put(self, "quorum", quorums.quorum(len(voters)))
        put(self, "some_honest", quorums.some_honest(len(voters)))

    @classmethod
    def first(
        cls, keys: Mapping[str, bytes], *, exclude: bool = False, checkpoint: int = 10_000
    ) -> Epoch:
        """The first one: voters, and their public keys. Raises TooFewVoters."""
        members = tuple(Member(name, key) for name, key in sorted(keys.items()))
        return cls(number=1, members=members, exclude=exclude, checkpoint=checkpoint)

    def cluster(self, name: str, position: int = 0) -> bytes:
        """What binds all that is signed to this cluster: its name, its first epoch, and where it began.

        One that begins with another's snapshot is another one, so that nothing of the old one counts.
        """
        began = [position.to_bytes(8, "big")] if position else []
        return digest(b"flow bft cluster", name.encode(), self.encode(), *began)

    def changed(self, add: Iterable[Member], remove: Iterable[str]) -> Epoch:
        """The next one. Raises ValueError for a change that changes nothing, or that cannot be."""
        members = {one.name: one for one in self.members}
        for name in remove:
            if members.pop(name, None) is None:
                raise ValueError(f"{name!r} is no member")
        for one in add:
            members[one.name] = one
        after = tuple(one for _, one in sorted(members.items()))
        if after == self.members:
            raise ValueError("nothing would change")
        if len(after) > MOST_MEMBERS:
            raise ValueError(f"more than {MOST_MEMBERS} members")
        return attrs.evolve(self, number=self.number + 1, members=after)

    def without(self, names: Iterable[str]) -> Epoch | None:
        """The next one without some voters; None where too few would be left, or nothing would change."""
        gone = set(names) & set(self.voters)
        if not gone or len(self.voters) - len(gone) < quorums.LEAST:
            return None
        after = tuple(one for one in self.members if one.name not in gone)
        return attrs.evolve(self, number=self.number + 1, members=after)

    def stored(self) -> Stored:
        """As a part of something larger."""
        return Stored(self.number, list(self.members), self.exclude, self.checkpoint)

    def encode(self) -> bytes:
        """The same bytes for the same epoch, on every node."""
        return msgspec.msgpack.encode(self.stored())

    @classmethod
    def of(cls, stored: Stored) -> Epoch:
        """Raises ValueError."""
        return cls(
            number=stored.number,
            members=tuple(stored.members),
            exclude=stored.exclude,
            checkpoint=stored.checkpoint,
        )
