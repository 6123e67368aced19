"""Who takes part: voters, learners, and the two sets of voters of a joint configuration.

Ongaro's dissertation, chapter 4. A server uses the latest configuration in its log, whether or not it is
committed (section 4.1); if that entry is replaced by another leader's, the one before holds again. A change
of one voter is made in one step (section 4.1), any other by way of a joint configuration (section 4.3).
Learners get the log and do not vote (section 4.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

import attrs
import msgspec

_VERSION = 1
_MOST = 256

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Names: TypeAlias = Annotated[list[Name], msgspec.Meta(max_length=_MOST)]


class BadMembership(ValueError):
    """A configuration that cannot be, or that this version cannot read."""


class ChangeRefused(ValueError):
    """A change that makes no sense from where we are."""


class _Stored(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    voters: _Names
    outgoing: _Names
    learners: _Names
    learners_next: _Names
    auto_leave: bool


_DECODER = msgspec.msgpack.Decoder(_Stored)


def _set(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True)
class Membership:
    """One configuration. `outgoing` is empty outside of a joint one."""

    voters: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    """Who decides; in a joint configuration the incoming ones."""
    outgoing: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    """Who decides as well, until the joint configuration is left."""
    learners: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    learners_next: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    """Outgoing voters that become learners when the joint configuration is left."""
    auto_leave: bool = False
    """The leader leaves the joint configuration by itself once it is committed."""

    def __attrs_post_init__(self) -> None:
        if self.learners & (self.voters | self.outgoing):
            both = sorted(self.learners & (self.voters | self.outgoing))
            raise BadMembership(f"{both} are voters and learners at once")
        if not self.learners_next <= self.outgoing - self.voters:
            raise BadMembership("only who is voted out can become a learner afterwards")
        if self.outgoing and not self.voters:
            raise BadMembership("a joint configuration needs voters to come")
        if self.auto_leave and not self.outgoing:
            raise BadMembership("only a joint configuration can be left")

    @property
    def joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.outgoing)

    @property
    def deciders(self) -> frozenset[str]:
        """Everybody whose vote counts for something."""
        return self.voters | self.outgoing if self.outgoing else self.voters

    @property
    def members(self) -> frozenset[str]:
        """Everybody who gets the log."""
        return self.voters | self.outgoing | self.learners

    def left(self) -> Membership:
        """What comes after this joint configuration."""
        if not self.outgoing:
            raise ChangeRefused("there is no joint configuration to leave")
        return Membership(voters=self.voters, learners=self.learners | self.learners_next)

    def changed(self, change: Change) -> Membership:
        """What a change makes of it: the result if one voter differs at most, else the joint way there.

        Raises ChangeRefused.
        """
        if self.joint:
            raise ChangeRefused("a joint configuration must be left before the next change")
        gone = change.remove - self.voters - self.learners
        if gone:
            raise ChangeRefused(f"{sorted(gone)} are no members")
        voters = (self.voters | change.voters) - change.learners - change.remove
        learners = (self.learners | change.learners) - change.voters - change.remove
        if not voters:
            raise ChangeRefused("no voter would be left")
        if len(voters | learners) > _MOST:
            raise ChangeRefused(f"more than {_MOST} members")
        if (voters, learners) == (self.voters, self.learners):
            raise ChangeRefused("nothing would change")
        if len(voters ^ self.voters) <= 1 and change.joint is not True:
            return Membership(voters=voters, learners=learners)
        if change.joint is False:
            raise ChangeRefused(
                f"{len(voters ^ self.voters)} voters differ: one step is not enough"
            )
        return Membership(
            voters=voters,
            outgoing=self.voters,
            learners=learners - self.voters,
            learners_next=learners & self.voters,
            auto_leave=change.auto_leave,
        )

    def encode(self) -> bytes:
        """The same bytes for the same configuration, on every node."""
        stored = _Stored(
            _VERSION,
            sorted(self.voters),
            sorted(self.outgoing),
            sorted(self.learners),
            sorted(self.learners_next),
            self.auto_leave,
        )
        return msgspec.msgpack.encode(stored)

    @classmethod
    def decode(cls, data: bytes) -> Membership:
        """Raises BadMembership."""
        try:
            stored = _DECODER.decode(data)
        except msgspec.MsgspecError as error:
            raise BadMembership(f"no configuration: {error}") from None
        if stored.version != _VERSION:
            raise BadMembership(
                f"configuration of version {stored.version}, and this is {_VERSION}"
            )
        return cls(
            voters=stored.voters,
            outgoing=stored.outgoing,
            learners=stored.learners,
            learners_next=stored.learners_next,
            auto_leave=stored.auto_leave,
        )

    def __str__(self) -> str:
        parts = [" ".join(sorted(self.voters)) or "nobody"]
        if self.outgoing:
            parts.append(f"&& {' '.join(sorted(self.outgoing))}")
        if self.learners:
            parts.append(f"learners {' '.join(sorted(self.learners))}")
        if self.learners_next:
            parts.append(f"learners next {' '.join(sorted(self.learners_next))}")
        if self.auto_leave:
            parts.append("auto")
        return ", ".join(parts)


@attrs.frozen(kw_only=True)
class Change:
    """What to change: each name in one of the three sets."""

    voters: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    """Become voters, whether they are learners now or nothing."""
    learners: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    """Become learners; voters are voted out by it."""
    remove: frozenset[str] = attrs.field(default=frozenset(), converter=_set)
    joint: bool | None = None
    """True: by a joint configuration in any case; False: never; None: where one step is not enough."""
    auto_leave: bool = True
    """Leave the joint configuration as soon as it is committed."""

    def __attrs_post_init__(self) -> None:
        sets = (self.voters, self.learners, self.remove)
        if sum(map(len, sets)) != len(frozenset().union(*sets)):
            raise ChangeRefused("a name stands in two of voters, learners and remove")
        for name in frozenset().union(*sets):
            if not 1 <= len(name) <= 255:
                raise ChangeRefused(f"{name!r} is no name: expected 1 to 255 characters")


class History:
    """The configurations of a log, each with the position from which it holds."""

    __slots__ = ("_entries",)

    def __init__(self, position: int, base: Membership) -> None:
        self._entries: list[tuple[int, Membership]] = [(position, base)]

    @property
    def latest(self) -> Membership:
        return self._entries[-1][1]

    @property
    def position(self) -> int:
        """Where the latest one stands."""
        return self._entries[-1][0]

    @property
    def oldest(self) -> int:
        """From where on it is known what held."""
        return self._entries[0][0]

    def at(self, position: int) -> tuple[int, Membership]:
        """What held at a position, and where that stands; the oldest one known for what is before it."""
        for entry in reversed(self._entries):
            if entry[0] <= position:
                return entry
        return self._entries[0]

    def add(self, position: int, membership: Membership) -> None:
        """An entry of the log brings the next one."""
        self._entries.append((position, membership))

    def truncate(self, position: int) -> bool:
        """Forget what stands at a position or after it; gives whether there was any."""
        before = len(self._entries)
        while len(self._entries) > 1 and self._entries[-1][0] >= position:
            self._entries.pop()
        return len(self._entries) != before

    def compact(self, position: int) -> None:
        """Forget what is older than what held at a position."""
        while len(self._entries) > 1 and self._entries[1][0] <= position:
            self._entries.pop(0)

    def reset(self, position: int, base: Membership) -> None:
        """A snapshot has taken the place of everything."""
        self._entries[:] = [(position, base)]
