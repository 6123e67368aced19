"""Offers: what one member offers, how it is listed, and where a call of it goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs
import msgspec
from msgspec import Raw

from flowcore.agents.catalog import Prompt, Resource, Template, Tool
from flowcore.agents.members import Member
from flowcore.agents.templates import pattern

Listable = Literal["tools", "resources", "templates", "prompts"]
Named = Literal["tools", "prompts"]
Offer = Tool | Resource | Template | Prompt


@attrs.frozen
class Listed:
    """One offer under its public name (for resources its URI, for templates the URI template)."""

    name: str
    agent: str
    offer: Offer


@attrs.frozen
class Listing:
    """All that is on offer of one kind, in a stable order, and which agents are missing from it.

    Missing are those that are not up, if they offer things of this kind or what they offer is not known.
    """

    entries: tuple[Listed, ...]
    missing: tuple[str, ...]
    nodes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """In a swarm: the nodes of each agent that has something on the list."""


@attrs.frozen
class Target:
    """Where a request goes: the agent, the agent's own name for the thing, the tool if it is one."""

    agent: str
    name: str
    tool: Tool | None = None
    raw: Raw = attrs.field(init=False, eq=False, repr=False)
    """The name as JSON."""

    @raw.default
    def _encoded(self) -> Raw:
        return Raw(msgspec.json.encode(self.name))


@attrs.frozen
class Offered:
    """One offer of one member: as it is listed, and where a call of it goes."""

    listed: Listed
    target: Target


class Index:
    """What one member offers, for one catalog. Of two offers with one name the first holds."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.catalog = catalog = member.catalog
        self.duplicates: list[str] = []
        self.tools = self._listed("tool", {}, ((one.name, one) for one in catalog.tools))
        self.prompts = self._listed("prompt", {}, ((one.name, one) for one in catalog.prompts))
        self.resources = self._listed("resource", {}, ((one.uri, one) for one in catalog.resources))
        self.templates = self._listed(
            "template", {}, ((one.uri_template, one) for one in catalog.templates)
        )
        self.patterns = [(pattern(one), member.name) for one in self.templates]

    def _listed(
        self, what: str, listed: dict[str, Offered], offers: Iterable[tuple[str, Offer]]
    ) -> dict[str, Offered]:
        agent = self.member.name
        prefix = f"{agent}." if what in ("tool", "prompt") else ""
        for name, offer in offers:
            if name in listed:
                self.duplicates.append(f"{agent} offers {what} {name!r} twice: the first holds")
                continue
            tool = offer if isinstance(offer, Tool) else None
            listed[name] = Offered(Listed(prefix + name, agent, offer), Target(agent, name, tool))
        return listed

    def offers(self, kind: Listable) -> dict[str, Offered]:
        """By the agent's own name for each, in its own order."""
        if kind == "tools":
            return self.tools
        if kind == "prompts":
            return self.prompts
        return self.resources if kind == "resources" else self.templates
