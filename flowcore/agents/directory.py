"""Who offers what, under which public name; who has which role and which capabilities.

Every answer is a look-up. What one member offers is indexed once per catalog, by itself; what concerns all
of them (bare names, resources, lists) is put together again, once and only when somebody asks, after
something has changed. So a request costs a few dictionary accesses, and a list stays the same object, in the
same order, while nothing changes.

**A name means one thing.** Whom a name belongs to follows from the catalogs alone, not from who is up: a
member that is down keeps its names, and calls of them are refused with its state rather than sent to
another member that happens to have the same name.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Collection, Iterable
from typing import Literal

import attrs
import trio

from flowcore.agents.catalog import EMPTY, Catalog
from flowcore.agents.members import Groups, Member
from flowcore.agents.offers import Index, Listable, Listed, Listing, Named, Offer, Target
from flowcore.agents.state import State
from flowcore.agents.templates import Pattern
from flowcore.errors import AgentUnavailable, UnknownTarget

__all__ = [
    "LISTED",
    "Directory",
    "Listable",
    "Listed",
    "Listing",
    "Member",
    "Offer",
    "Target",
    "unavailable",
]

LONGEST_URI = 2048
"""Characters of a URI beyond which no template is asked about it."""
MOST_COMPARED = 1000
"""Known names among which the nearest to an unknown one is looked for."""

LISTED = frozenset({State.IDLE, State.BUSY, State.PAUSED})
"""States in which a member's offers are on the lists."""


@attrs.frozen
class _Shared:
    """What follows from all catalogs together, whoever is up."""

    bare: dict[Named, dict[str, Target]]
    resources: dict[str, Target]
    patterns: tuple[tuple[Pattern, str], ...]
    collisions: tuple[str, ...]


class Directory:
    """The members, their roles and their offers: those of one node, or of a swarm."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._indexes: dict[str, Index] = {}
        self._groups = Groups(self._members)
        self._dotted: tuple[str, ...] = ()
        self._revision = 0
        self._changed = trio.Event()
        self._shared: _Shared | None = None
        self._listings: dict[Listable, Listing] = {}
        self._found: dict[tuple[str, str], tuple[Member, Catalog, Target]] = {}
        """What was resolved since the last change, but for resources: of these there is no end."""

    @property
    def revision(self) -> int:
        """Grows with every change of a catalog, a state that matters to lists, or the members."""
        return self._revision

    @property
    def collisions(self) -> tuple[str, ...]:
        """Sentences about names that more than one agent claims, and how each was settled."""
        return self._together().collisions

    async def wait_changed(self, revision: int) -> int:
        """Wait until `revision` is no longer the current one; give the current one."""
        while self._revision == revision:
            await self._changed.wait()
        return self._revision

    def join(self, member: Member) -> None:
        """Take a member in. Raises ValueError if its name is taken."""
        if member.name in self._members:
            raise ValueError(f"an agent named {member.name!r} is already here")
        self._members[member.name] = member
        self._groups.join(member)
        if "." in member.name:
            self._find_dotted()
        self.changed()

    def leave(self, name: str) -> None:
        """Let a member go. Raises KeyError if there is none of that name."""
        member = self._members.pop(name)
        self._groups.leave(member)
        self._indexes.pop(name, None)
        if "." in name:
            self._find_dotted()
        self.changed()

    def changed(self) -> None:
        """Something about a member is not what it was: wake who waits; tables are made when asked for."""
        self._shared = None
        self._listings = {}
        self._found = {}
        self._revision += 1
        self._changed.set()
        self._changed = trio.Event()

    # ---- who is here

    def members(self) -> tuple[Member, ...]:
        """All members, by name."""
        return self._groups.everyone()

    def by_name(self, name: str) -> Member:
        """The member of that name. Raises UnknownTarget."""
        try:
            return self._members[name]
        except KeyError:
            raise _unknown("agent", name, self._members) from None

    def by_role(self, role: str) -> tuple[Member, ...]:
        """Every member with the role, by name; () if there is none."""
        return self._groups.by_role(role)

    def by_capability(self, capabilities: Iterable[str]) -> tuple[Member, ...]:
        """Every member that has all of the capabilities, by name; all members if none is asked for."""
        return self._groups.by_capability(frozenset(capabilities))

    # ---- what is offered

    def listing(self, kind: Listable) -> Listing:
        """What is on offer now, members by name, each in its own order.

        The same object is given until something changes.
        """
        listing = self._listings.get(kind)
        if listing is None:
            listing = self._listings[kind] = self._list(kind)
        return listing

    def resolve(self, kind: Literal["tools", "resources", "prompts"], name: str) -> Target:
        """Where a call of this public name goes.

        `agent.name` always says which one is meant; a name of its own only where nobody else claims it.
        A resource is also found through the templates of the agents that offer it. Raises UnknownTarget
        if nobody offers it, AgentUnavailable if the one who does is not taking calls.
        """
        found = self._found.get((kind, name))
        if found is not None:
            member, catalog, target = found
            if member.catalog is catalog and member.state.available:
                return target
        return self._resolve(kind, name)

    def _resolve(self, kind: Literal["tools", "resources", "prompts"], name: str) -> Target:
        target = self._resource(name) if kind == "resources" else self._named(kind, name)
        if target is None:
            raise self._refusal(kind, name)
        member = self._members[target.agent]
        if not member.state.available:
            raise unavailable(member)
        if kind != "resources":
            self._found[kind, name] = member, member.catalog, target
        return target

    def _named(self, kind: Named, name: str) -> Target | None:
        qualified = self._qualified(kind, name)
        return self._together().bare[kind].get(name) if qualified is None else qualified

    def _qualified(self, kind: Named, name: str) -> Target | None:
        agent, dot, own = name.partition(".")
        if dot and agent in self._members:
            offered = self._index(agent).offers(kind).get(own)
            if offered is not None:
                return offered.target
        for dotted in self._dotted:
            if name.startswith(dotted):
                offered = self._index(dotted[:-1]).offers(kind).get(name[len(dotted) :])
                if offered is not None:
                    return offered.target
        return None

    def _resource(self, uri: str) -> Target | None:
        shared = self._together()
        target = shared.resources.get(uri)
        if target is None and len(uri) <= LONGEST_URI:
            for known, agent in shared.patterns:
                if known.matches(uri):
                    return Target(agent, uri)
        return target

    def _refusal(self, kind: Listable, name: str) -> Exception:
        """The refusal of a name nobody offers; of an agent that is down, that it is down."""
        what = kind.removesuffix("s")
        if kind == "resources":
            return _unknown(what, name, self._together().resources)
        agent = self._members.get(name.partition(".")[0]) if "." in name else None
        if agent is None:
            listed = self.listing(kind).entries
            known = [one.name for one in listed] if len(listed) <= MOST_COMPARED else []
            down = [
                one.name
                for one in self.members()
                if one.bare and one.catalog is EMPTY and one.state not in LISTED
            ]
            return _unknown(what, name, known, down)
        if not agent.state.available:
            return unavailable(agent)
        own = self._index(agent.name).offers(kind).values()
        return _unknown(what, name, [offered.listed.name for offered in own])

    def _index(self, name: str) -> Index:
        index = self._indexes.get(name)
        member = self._members[name]
        if index is None or index.catalog is not member.catalog:
            index = self._indexes[name] = Index(member)
        return index

    def _find_dotted(self) -> None:
        dotted = [name + "." for name in self._members if "." in name]
        self._dotted = tuple(sorted(dotted, key=len, reverse=True))

    # ---- putting together

    def _list(self, kind: Listable) -> Listing:
        entries: dict[str, Listed] = {}
        missing: list[str] = []
        nodes: list[tuple[str, tuple[str, ...]]] = []
        for member in self.members():
            index = self._index(member.name)
            offers = self._entries(index, kind)
            if member.state in LISTED:
                for one in offers:  # only templates may be several's: a list tells each once
                    entries.setdefault(one.name, one)
                where: tuple[str, ...] = getattr(member, "nodes", ())
                if offers and where:
                    nodes.append((member.name, where))
            elif offers or member.catalog is EMPTY:
                missing.append(member.name)
        return Listing(tuple(entries.values()), tuple(missing), tuple(nodes))

    def _entries(self, index: Index, kind: Listable) -> list[Listed]:
        listed = [offered.listed for offered in index.offers(kind).values()]
        if kind == "resources":
            owners = self._together().resources
            return [one for one in listed if owners[one.name].agent == one.agent]
        if kind == "templates" or not index.member.bare:
            return listed
        bare = self._together().bare[kind]
        return [
            Listed(own, one.agent, one.offer) if own in bare else one
            for own, one in zip(index.offers(kind), listed, strict=True)
        ]

    def _together(self) -> _Shared:
        if self._shared is None:
            indexes = [self._index(member.name) for member in self.members()]
            collisions = [one for index in indexes for one in index.duplicates]
            self._shared = _Shared(
                bare={
                    "tools": self._bare("tools", indexes, collisions),
                    "prompts": self._bare("prompts", indexes, collisions),
                },
                resources=self._resources(indexes, collisions),
                patterns=self._patterns(indexes),
                collisions=tuple(collisions),
            )
        return self._shared

    def _bare(self, kind: Named, indexes: list[Index], collisions: list[str]) -> dict[str, Target]:
        claims: dict[str, list[Target]] = {}
        for index in indexes:
            if index.member.bare:
                for name, offered in index.offers(kind).items():
                    claims.setdefault(name, []).append(offered.target)
        bare: dict[str, Target] = {}
        what = kind.removesuffix("s")
        for name, targets in claims.items():
            agents = ", ".join(target.agent for target in targets)
            other = self._qualified(kind, name)
            if other is not None:
                collisions.append(
                    f"{what} {name!r} of {agents} is listed as agent.name:"
                    f" {name!r} is {other.name!r} of {other.agent}"
                )
            elif len(targets) > 1:
                collisions.append(
                    f"{what} {name!r} is claimed by {agents}: each is listed as agent.name"
                )
            else:
                bare[name] = targets[0]
        return bare

    def _resources(self, indexes: list[Index], collisions: list[str]) -> dict[str, Target]:
        owners: dict[str, Target] = {}
        for index in indexes:
            for uri, offered in index.resources.items():
                first = owners.setdefault(uri, offered.target)
                if first is not offered.target:
                    collisions.append(
                        f"resource {uri!r} of {offered.target.agent} is hidden by that of {first.agent}"
                    )
        return owners

    def _patterns(self, indexes: list[Index]) -> tuple[tuple[Pattern, str], ...]:
        """The most telling templates first; among equals members by name."""
        patterns = [one for index in indexes for one in index.patterns]
        return tuple(sorted(patterns, key=lambda one: -one[0].literals))


def _unknown(
    what: str, name: str, known: Collection[str], down: Collection[str] = ()
) -> UnknownTarget:
    """The refusal of an unknown name, with the nearest known one and whom else it might belong to."""
    shown = name[:200]
    near = _nearest(shown, known) if len(known) <= MOST_COMPARED else None
    hint = "" if near is None else f", did you mean {near!r}?"
    others = f" (not up, and may have it: {', '.join(list(down)[:5])})" if down else ""
    return UnknownTarget(f"unknown {what} {shown!r}{hint}{others}", data={what: shown})


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that a person most likely meant; compared closely are only a few with like letters."""
    letters = set(name)

    def unlike(other: str) -> int:
        return len(letters.symmetric_difference(other)) + abs(len(name) - len(other))

    near = difflib.get_close_matches(name, heapq.nsmallest(8, known, key=unlike), n=1)
    return near[0] if near else None


def unavailable(member: Member) -> AgentUnavailable:
    """The refusal of a call to an agent that takes none now."""
    because = f": {member.reason}" if member.reason else ""
    return AgentUnavailable(
        f"agent {member.name!r} is {member.state.value}{because}",
        data={"agent": member.name, "state": member.state.value},
        retry_after=member.retry_after,
    )
