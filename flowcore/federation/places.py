"""Where an agent can be had, and which place is the cheapest now. Sans-IO.

    cost = load + under way from here / size + HOP * hops

The load is what the place last told (0: nothing to do, 1: all of its workers are at work), and what was sent
there from here since is added, for news is late and others must not run into one place together; each hop
costs as much as a quarter of the load. Among the two cheapest, if they are about the same, chance decides
(Mitzenmacher, "The Power of Two Choices", 2001).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import attrs

from flowcore.agents import Catalog, State
from flowcore.agents.templates import Pattern, pattern
from flowcore.federation.wire import AgentNews

HOP = 0.25
"""What a hop costs, in load."""
ALIKE = 0.1
"""Costs that differ by less are about the same."""


class Offered:
    """What a catalog has, to be asked quickly whether a request is for it."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._names = {
            "tools/call": frozenset(one.name for one in catalog.tools),
            "prompts/get": frozenset(one.name for one in catalog.prompts),
        }
        self._uris = frozenset(one.uri for one in catalog.resources)
        self._patterns: tuple[Pattern, ...] | None = None

    def has(self, method: str, name: str) -> bool:
        """Whether it offers what a request is about; what is not told by name may be anybody's."""
        names = self._names.get(method)
        if names is not None:
            return name in names
        if not method.startswith("resources/") or name in self._uris:
            return True
        if self._patterns is None:
            self._patterns = tuple(pattern(one.uri_template) for one in self.catalog.templates)
        return any(one.matches(name) for one in self._patterns)


@attrs.define(eq=False)
class Place:
    """An agent at another node, as that node has told of it."""

    node: str
    news: AgentNews
    state: State
    offered: Offered
    load: float = 0.0
    """As told last, 0 to 1."""
    hops: int = 1
    under_way: int = 0
    """Calls from here that have no outcome yet."""
    news_of_mine: int = 0
    """How many of these the load that was told last has in it."""
    gone: str = ""
    """Why nothing can be asked of that node now; empty if it can."""

    @property
    def available(self) -> bool:
        """Whether a call may be sent there."""
        return self.state.available and not self.gone

    @property
    def catalog(self) -> Catalog:
        """What it offers there."""
        return self.offered.catalog

    def tell(self, load: float) -> None:
        """The place says how busy it is now."""
        self.load = load
        self.news_of_mine = self.under_way

    def cost(self) -> float:
        """What a call there costs now."""
        unknown = max(0, self.under_way - self.news_of_mine)
        return self.load + unknown / max(1, self.news.size) + HOP * self.hops


def cheapest(places: Iterable[Place], chance: random.Random) -> Place | None:
    """The place to send a call to; None if there is none."""
    best: Place | None = None
    second: Place | None = None
    least = next_least = 0.0
    for place in places:
        cost = place.cost()
        if best is None or cost < least:
            second, next_least = best, least
            best, least = place, cost
        elif second is None or cost < next_least:
            second, next_least = place, cost
    if second is not None and next_least - least < ALIKE and chance.random() < 0.5:
        return second
    return best
