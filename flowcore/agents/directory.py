"""Who offers what, under which public name; who has which role and which capabilities.

Every answer is a look-up in tables. They are rebuilt, once and only when somebody asks, after a catalog or
a state has changed; so a request costs one dictionary access, and a list stays the same object, in the same
order, while nothing changes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
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


@attrs.frozen
class _Tables:
    """Everything that follows from the members as they are now."""

    listings: dict[Listable, Listing]
    targets: dict[tuple[str, str], Target]
    templates: tuple[tuple[re.Pattern[str], Target], ...]
    collisions: tuple[str, ...]


class Directory:
    """The members of one node, their roles and their offers."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._roles: dict[str, tuple[str, ...]] = {}
        self._capabilities: dict[str, frozenset[str]] = {}
        self._revision = 0
        self._changed = trio.Event()
        self._current: _Tables | None = None

    @property
    def revision(self) -> int:
        """Grows with every change of a catalog, a state that matters to lists, or the members."""
        return self._revision

    @property
    def collisions(self) -> tuple[str, ...]:
        """Sentences about names that more than one agent claims, and how each was settled."""
        return self._tables.collisions

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
        for role in member.roles:
            self._roles[role] = tuple(sorted((*self._roles.get(role, ()), member.name)))
        for one in member.capabilities:
            self._capabilities[one] = self._capabilities.get(one, frozenset()) | {member.name}
        self.changed()

    def leave(self, name: str) -> None:
        """Let a member go. Raises KeyError if there is none of that name."""
        member = self._members.pop(name)
        for role in member.roles:
            self._roles[role] = tuple(one for one in self._roles[role] if one != name)
        for one in member.capabilities:
            self._capabilities[one] -= {name}
        self.changed()

    def changed(self) -> None:
        """Something about a member is not what it was: wake who waits; tables are made when asked for."""
        self._current = None
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
        return tuple(self._members[name] for name in self._roles.get(role, ()))

    def by_capability(self, capabilities: Iterable[str]) -> tuple[Member, ...]:
        """Every member that has all of the capabilities, by name; all members if none is asked for."""
        wanted = list(capabilities)
        if not wanted:
            return self.members()
        sets = sorted((self._capabilities.get(one, frozenset()) for one in wanted), key=len)
        return tuple(self._members[name] for name in sorted(frozenset.intersection(*sets)))

    def listing(self, kind: Listable) -> Listing:
        """What is on offer now. The same object is given until something changes."""
        return self._tables.listings[kind]

    def resolve(self, kind: Literal["tools", "resources", "prompts"], name: str) -> Target:
        """Where a call of this public name goes.

        A resource is also found through the templates of the agents that offer it. Raises UnknownTarget
        if nobody offers it, AgentUnavailable if the one who would is not taking calls.
        """
        target = self._tables.targets.get((kind, name))
        if target is None and kind == "resources":
            target = self._by_template(name)
        if target is None:
            raise self._unknown(kind, name)
        member = self._members[target.agent]
        if not member.state.available:
            raise unavailable(member)
        return target

    def _by_template(self, uri: str) -> Target | None:
        for pattern, target in self._tables.templates:
            if pattern.fullmatch(uri):
                return attrs.evolve(target, name=uri)
        return None

    def _unknown(self, kind: str, name: str) -> Exception:
        """The refusal of a name nobody offers; of an agent that is down, that it is down."""
        agent, dot, _ = name.partition(".")
        member = self._members.get(agent) if dot and kind != "resources" else None
        if member is not None and not member.state.available:
            return unavailable(member)
        what = kind.removesuffix("s")
        known = [known for of, known in self._tables.targets if of == kind]
        near = difflib.get_close_matches(name[:200], known, n=1) if len(known) <= 1000 else []
        hint = f", did you mean {near[0]!r}?" if near else ""
        return UnknownTarget(f"unknown {what} {name[:200]!r}{hint}", data={what: name[:200]})

    @property
    def _tables(self) -> _Tables:
        if self._current is None:
            self._current = _make_tables(self.members())
        return self._current


_LISTED = (State.IDLE, State.BUSY, State.PAUSED)


def _make_tables(members: tuple[Member, ...]) -> _Tables:
    listed = [member for member in members if member.state in _LISTED]
    missing = tuple(member.name for member in members if member.state not in _LISTED)
    collisions: list[str] = []
    targets: dict[tuple[str, str], Target] = {}
    tools = _named(listed, "tools", targets, collisions)
    prompts = _named(listed, "prompts", targets, collisions)
    resources = tuple(_resources(listed, targets, collisions))
    templates = [
        Listed(one.uri_template, member.name, one)
        for member in listed
        for one in member.catalog.templates
    ]
    return _Tables(
        listings={
            "tools": Listing(tools, missing),
            "prompts": Listing(prompts, missing),
            "resources": Listing(resources, missing),
            "templates": Listing(tuple(templates), missing),
        },
        targets=targets,
        templates=tuple((template_pattern(one.name), Target(one.agent, "")) for one in templates),
        collisions=tuple(collisions),
    )


def _named(
    members: list[Member],
    kind: Literal["tools", "prompts"],
    targets: dict[tuple[str, str], Target],
    collisions: list[str],
) -> tuple[Listed, ...]:
    """Tools or prompts under their public names: `agent.name`, or bare where nobody else claims it."""
    claims: dict[str, list[str]] = {}
    for member in members:
        for offer in _offers(member, kind):
            if member.bare:
                claims.setdefault(offer.name, []).append(member.name)
            targets[kind, f"{member.name}.{offer.name}"] = Target(
                member.name, offer.name, offer if isinstance(offer, Tool) else None
            )
    entries = []
    for member in members:
        for offer in _offers(member, kind):
            public = f"{member.name}.{offer.name}"
            if member.bare and len(claims[offer.name]) == 1 and (kind, offer.name) not in targets:
                targets[kind, offer.name] = targets[kind, public]
                public = offer.name
            entries.append(Listed(public, member.name, offer))
    for name, agents in claims.items():
        if len(agents) > 1:
            collisions.append(
                f"{kind.removesuffix('s')} {name!r} is offered bare by {', '.join(agents)}:"
                " each is listed as agent.name"
            )
    return tuple(entries)


def _offers(member: Member, kind: Literal["tools", "prompts"]) -> tuple[Tool | Prompt, ...]:
    return member.catalog.tools if kind == "tools" else member.catalog.prompts


def _resources(
    members: list[Member], targets: dict[tuple[str, str], Target], collisions: list[str]
) -> Iterator[Listed]:
    for member in members:
        for resource in member.catalog.resources:
            first = targets.setdefault(
                ("resources", resource.uri), Target(member.name, resource.uri)
            )
            if first.agent == member.name:
                yield Listed(resource.uri, member.name, resource)
            else:
                collisions.append(
                    f"resource {resource.uri!r} of {member.name} is hidden by that of {first.agent}"
                )


_EXPRESSION = re.compile(r"\{([+#./;?&]?)([^{}]*)\}")
_RESERVED = {"+": r"[^\s]+", "#": r"#[^\s]*"}


def template_pattern(uri_template: str) -> re.Pattern[str]:
    """What the expansions of a URI template look like (RFC 6570, levels 1 to 3)."""
    parts: list[str] = []
    position = 0
    for match in _EXPRESSION.finditer(uri_template):
        parts.append(re.escape(uri_template[position : match.start()]))
        operator = match[1]
        if operator in _RESERVED:
            parts.append(_RESERVED[operator])
        elif operator:
            parts.append(rf"(?:{re.escape(operator)}[^\s]*)?")
        else:
            parts.append(r"[^/\s?#]+")
        position = match.end()
    parts.append(re.escape(uri_template[position:]))
    return re.compile("".join(parts))


def unavailable(member: Member) -> AgentUnavailable:
    """The refusal of a call to an agent that takes none now."""
    because = f": {member.reason}" if member.reason else ""
    return AgentUnavailable(
        f"agent {member.name!r} is {member.state.value}{because}",
        data={"agent": member.name, "state": member.state.value},
    )
