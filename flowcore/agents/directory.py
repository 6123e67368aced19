"""Who offers what, under which public name; who has which role and which capabilities.

Every answer is a look-up in tables that are rebuilt when a catalog or a state changes, so that a request
costs one dictionary access and lists stay the same object, in the same order, while nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import attrs
import trio

from flowcore.agents.catalog import Catalog, Prompt, Resource, Template, Tool
from flowcore.agents.state import State
from flowcore.errors import AgentUnavailable, UnknownTarget

Listable = Literal["tools", "resources", "templates", "prompts"]
Offer = Tool | Resource | Template | Prompt


class Member(Protocol):
    """An agent as the directory sees it."""

    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def capabilities(self) -> frozenset[str]: ...
    @property
    def bare(self) -> bool:
        """Whether its tools and prompts are offered under their own names where nobody else has them."""
        ...

    @property
    def state(self) -> State: ...
    @property
    def reason(self) -> str:
        """Why it is in that state, for a person; empty if there is nothing to say."""
        ...

    @property
    def catalog(self) -> Catalog: ...


@attrs.frozen
class Listed:
    """One offer under its public name (for resources its URI, for templates the URI template)."""

    name: str
    agent: str
    offer: Offer


@attrs.frozen
class Listing:
    """All that is on offer of one kind, in a stable order, and which agents are missing from it."""

    entries: tuple[Listed, ...]
    missing: tuple[str, ...]


@attrs.frozen
class Target:
    """Where a request goes: the agent, the agent's own name for the thing, the tool if it is one."""

    agent: str
    name: str
    tool: Tool | None = None


class Directory:
    """The members of one node, their roles and their offers."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._revision = 0
        self._changed = trio.Event()
        self._roles: dict[str, tuple[Member, ...]] = {}
        self._capabilities: dict[str, frozenset[str]] = {}
        self._listings: dict[Listable, Listing] = {}
        self._targets: dict[tuple[str, str], Target] = {}
        self._rebuild()

    @property
    def revision(self) -> int:
        """Grows with every change of a catalog, a state that matters to lists, or the members."""
        return self._revision

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
        self.changed()

    def leave(self, name: str) -> None:
        """Let a member go. Raises KeyError if there is none of that name."""
        del self._members[name]
        self.changed()

    def changed(self) -> None:
        """Something about a member is not what it was: rebuild the tables and wake who waits."""
        self._rebuild()
        self._revision += 1
        self._changed.set()
        self._changed = trio.Event()

    def members(self) -> tuple[Member, ...]:
        """All members, by name."""
        return tuple(self._members[name] for name in sorted(self._members))

    def by_name(self, name: str) -> Member:
        """The member of that name. Raises UnknownTarget."""
        try:
            return self._members[name]
        except KeyError:
            raise UnknownTarget(f"there is no agent {name!r}", data={"agent": name}) from None

    def by_role(self, role: str) -> tuple[Member, ...]:
        """Every member with the role, by name; () if there is none."""
        return self._roles.get(role, ())

    def by_capability(self, capabilities: Iterable[str]) -> tuple[Member, ...]:
        """Every member that has all of the capabilities, by name."""
        wanted = list(capabilities)
        if not wanted:
            return self.members()
        sets = [self._capabilities.get(one, frozenset[str]()) for one in wanted]
        names = frozenset.intersection(*sorted(sets, key=len))
        return tuple(self._members[name] for name in sorted(names))

    def listing(self, kind: Listable) -> Listing:
        """What is on offer now. The same object is given until something changes."""
        return self._listings[kind]

    def resolve(self, kind: Literal["tools", "resources", "prompts"], name: str) -> Target:
        """Where a call of this public name goes.

        A resource is also found through the templates of the agents that offer it. Raises UnknownTarget
        if nobody offers it, AgentUnavailable if the one who did is not taking calls.
        """
        target = self._targets.get((kind, name))
        if target is None:
            target = self._by_prefix(kind, name)
        member = self._members[target.agent]
        if not member.state.available:
            raise unavailable(member)
        return target

    def _by_prefix(self, kind: str, name: str) -> Target:
        raise NotImplementedError

    def _rebuild(self) -> None:
        raise NotImplementedError


def unavailable(member: Member) -> AgentUnavailable:
    """The refusal of a call to an agent that takes none now."""
    because = f": {member.reason}" if member.reason else ""
    return AgentUnavailable(
        f"agent {member.name!r} is {member.state.value}{because}",
        data={"agent": member.name, "state": member.state.value},
    )


_ = Sequence
