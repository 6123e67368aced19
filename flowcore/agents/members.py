"""Members: an agent as others see it, and who has which role and which capabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from flowcore.agents.catalog import Catalog
from flowcore.agents.state import State


class Member(Protocol):
    """An agent as the directory sees it. Its name never changes; its roles, capabilities and `bare` count as
    they are when it joins: one for which they change leaves, and joins again.

    One that may be at several nodes has `nodes`, their names, in order.
    """

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
    def retry_after(self) -> float | None:
        """Seconds until it will be tried again, where it has failed."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What it offers, or offered when it was last up; EMPTY as long as that is not known."""
        ...


class Groups:
    """Members by role and by capability, each answer kept until somebody joins or leaves."""

    MOST_KEPT = 1024

    def __init__(self, members: dict[str, Member]) -> None:
        self._members = members
        self._roles: dict[str, set[str]] = {}
        self._capabilities: dict[str, set[str]] = {}
        self._joined: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        """The roles and capabilities with which each has joined: they may be others by now."""
        self._kept: dict[str | frozenset[str], tuple[Member, ...]] = {}

    def join(self, member: Member) -> None:
        roles, capabilities = self._joined[member.name] = (member.roles, member.capabilities)
        for role in roles:
            self._roles.setdefault(role, set()).add(member.name)
        for capability in capabilities:
            self._capabilities.setdefault(capability, set()).add(member.name)
        self._kept.clear()

    def leave(self, member: Member) -> None:
        roles, capabilities = self._joined.pop(member.name)
        for role in roles:
            self._roles[role].discard(member.name)
        for capability in capabilities:
            self._capabilities[capability].discard(member.name)
        self._kept.clear()

    def everyone(self) -> tuple[Member, ...]:
        return self._keep(frozenset(), self._members)

    def by_role(self, role: str) -> tuple[Member, ...]:
        return self._keep(role, self._roles.get(role, ()))

    def by_capability(self, wanted: frozenset[str]) -> tuple[Member, ...]:
        kept = self._kept.get(wanted)
        if kept is not None:
            return kept
        if not wanted:
            return self.everyone()
        sets = sorted((self._capabilities.get(one, set()) for one in wanted), key=len)
        return self._keep(wanted, set.intersection(*sets))

    def _keep(self, key: str | frozenset[str], names: Iterable[str]) -> tuple[Member, ...]:
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= self.MOST_KEPT:
                self._kept.clear()
            kept = self._kept[key] = tuple(self._members[name] for name in sorted(names))
        return kept
