"""An agent that may be had at several nodes, as one: a member of the directory, and who does its requests."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import attrs
import trio

from flowcore.agents import EMPTY, Agent, AgentSettings, Catalog, State
from flowcore.agents.directory import unavailable
from flowcore.envelope import Envelope, Reply
from flowcore.errors import AgentUnavailable, CallError, Overloaded, UnknownTarget
from flowcore.federation.places import Offered, Place, cheapest
from flowcore.resilience import Breaker, Verdict

Forward = Callable[[Place, Envelope], Awaitable[Reply]]
"""Has a request done at a place. Raises CallError."""

_AGAIN = 1.0
"""Seconds after which a node that is left out may be asked for again, at most."""
EASY = 0.5
"""A local agent that is less busy does what it is asked without a look at others."""

_WORTH = (
    State.IDLE,
    State.BUSY,
    State.PAUSED,
    State.STARTING,
    State.DRAINING,
    State.FAILED,
    State.STOPPED,
)
"""States, the best first: that of the best place is the agent's."""
_RANK = {state: rank for rank, state in enumerate(_WORTH)}


class Placed:
    """One agent of the swarm, by its name; at this node, at others, or at both."""

    def __init__(
        self,
        name: str,
        node: str,
        forward: Forward,
        breaker: Callable[[str], Breaker],
        chance: random.Random,
    ) -> None:
        """`breaker` gives the breaker of a node."""
        self.name = name
        self.local: Agent | None = None
        self.places: dict[str, Place] = {}
        """By node, without this one."""
        self._node = node
        self._forward = forward
        self._breaker = breaker
        self._chance = chance
        self._mine: Offered | None = None
        self._catalog = EMPTY
        self._joined: tuple[Catalog, ...] = ()
        self._settings = AgentSettings()
        self._from: tuple[Any, ...] = ()

    # ---- as a member of the directory

    @property
    def roles(self) -> frozenset[str]:
        """Those it has anywhere."""
        return self._union(None if self.local is None else self.local.roles, "roles")

    @property
    def capabilities(self) -> frozenset[str]:
        """Those it has anywhere."""
        return self._union(None if self.local is None else self.local.capabilities, "capabilities")

    @property
    def topics(self) -> frozenset[str]:
        """Topics that it wants to hear of, anywhere."""
        own = None if self.local is None else frozenset(self.local.settings.topics)
        return self._union(own, "topics")

    def _union(self, own: frozenset[str] | None, what: str) -> frozenset[str]:
        return (own or frozenset()).union(
            *(getattr(place.news, what) for place in self.places.values())
        )

    @property
    def bare(self) -> bool:
        """As the first of its nodes has it, so that all nodes list it alike."""
        first = min((*self.places, *([self._node] if self.local else [])), default="")
        if self.local is not None and first == self._node:
            return self.local.bare
        return first in self.places and self.places[first].news.bare

    @property
    def state(self) -> State:
        """That of the place that is best off."""
        local = self.local
        if local is not None and local.state.available:
            return local.state
        states = [place.state for place in self.places.values() if not place.gone]
        if local is not None:
            states.append(local.state)
        return min(states, key=_RANK.__getitem__, default=State.STOPPED)

    @property
    def reason(self) -> str:
        """Why it is in that state, for a person."""
        state = self.state
        if self.local is not None and self.local.state is state:
            return self.local.reason
        for node, place in sorted(self.places.items()):
            if place.gone and state is State.STOPPED:
                return f"{node}: {place.gone}"
            if place.state is state and not place.gone:
                return f"{node}: {place.news.reason}" if place.news.reason else ""
        return ""

    @property
    def retry_after(self) -> float | None:
        return None if self.local is None else self.local.retry_after

    @property
    def catalog(self) -> Catalog:
        """What its places offer together; of two of one name that of the first node holds."""
        parts = tuple(catalog for _, catalog in self._catalogs())
        if len(parts) != len(self._joined) or any(
            one is not other for one, other in zip(parts, self._joined, strict=True)
        ):
            self._joined = parts
            self._catalog = joined(parts)
        return self._catalog

    def _catalogs(self) -> Iterator[tuple[str, Catalog]]:
        found = [(node, place.catalog) for node, place in self.places.items()]
        if self.local is not None:
            found.append((self._node, self.local.catalog))
        found.sort(key=lambda one: one[0])
        yield from ((node, catalog) for node, catalog in found if catalog is not EMPTY)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that have it, in order; without those that nothing can be asked of."""
        there = [node for node, place in self.places.items() if not place.gone]
        if self.local is not None:
            there.append(self._node)
        return tuple(sorted(there))

    @property
    def settings(self) -> AgentSettings:
        """Its own settings where it is here; else what its first place tells."""
        if self.local is not None:
            return self.local.settings
        first = min(self.places, default="")
        if not first:
            return self._settings
        news = self.places[first].news
        said = (news.description, news.roles, news.capabilities, news.topics, news.deadline)
        if said != self._from:
            self._from = said
            self._settings = AgentSettings(
                description=news.description,
                roles=news.roles,
                capabilities=news.capabilities,
                topics=news.topics,
                deadline=news.deadline,
            )
        return self._settings

    # ---- as who does requests

    def call(self, envelope: Envelope) -> Coroutine[Any, Any, Reply]:
        """Have a request done at the cheapest place that offers what it is for. Raises CallError.

        Where a place cannot begin with it, the next one is asked; once it may have begun, its outcome holds.
        """
        local = self.local
        if envelope.node:
            return self._there(envelope)
        if local is not None and local.state.available:
            if not self.places:
                return local.call(envelope)
            if local.load < EASY and self._own(local).has(envelope.method, envelope.name):
                return local.call(envelope)
        return self._anywhere(envelope)

    async def _there(self, envelope: Envelope) -> Reply:
        """At the node that the envelope names, and nowhere else."""
        if envelope.node == self._node:
            if self.local is None:
                raise AgentUnavailable(
                    f"agent {self.name!r} is not at node {self._node!r} any more",
                    data={"agent": self.name, "node": self._node},
                )
            return await self.local.call(envelope)
        place = self.places.get(envelope.node)
        if place is None:
            raise UnknownTarget(
                f"agent {self.name!r} is not at node {envelope.node[:100]!r}",
                data={"agent": self.name, "nodes": list(self.nodes)},
            )
        if not place.available:
            raise self._away(place)
        return await self._at(place, envelope)

    async def _anywhere(self, envelope: Envelope) -> Reply:
        left = {node: place for node, place in self.places.items() if place.available}
        local = self.local if self.local is not None and self.local.state.available else None
        last: CallError | None = None
        while True:
            able = [
                place
                for place in left.values()
                if place.offered.has(envelope.method, envelope.name)
            ]
            chosen = cheapest(able, self._chance)
            try:
                if local is not None and self._prefers(local, chosen, envelope):
                    mine, local = local, None
                    return await mine.call(envelope)
                if chosen is None:
                    break
                del left[chosen.node]
                return await self._at(chosen, envelope)
            except (AgentUnavailable, Overloaded) as error:
                if error.began:
                    raise
                last = error
        if last is not None:
            raise last
        away = next((one for one in self.places.values() if one.gone), None)
        raise unavailable(self) if away is None or self.local else self._away(away)

    def _prefers(self, local: Agent, chosen: Place | None, envelope: Envelope) -> bool:
        """Whether the agent here does it rather than the cheapest place elsewhere."""
        if not self._own(local).has(envelope.method, envelope.name):
            return chosen is None and not self.places
        return chosen is None or local.load <= chosen.cost()

    def _own(self, local: Agent) -> Offered:
        if self._mine is None or self._mine.catalog is not local.catalog:
            self._mine = Offered(local.catalog)
        return self._mine

    async def _at(self, place: Place, envelope: Envelope) -> Reply:
        """At one place, as far as the breaker of its node lets it."""
        breaker = self._breaker(place.node)
        start = trio.current_time()
        ticket = breaker.ask(start)
        if ticket is None:
            raise AgentUnavailable(
                f"node {place.node!r} has failed too often of late",
                data={"agent": self.name, "node": place.node},
                # not longer: it may be back, and is tried at once if it is heard to be
                retry_after=min(_AGAIN, breaker.retry_after(start)),
            )
        verdict = Verdict.NOTHING
        place.under_way += 1
        try:
            reply = await self._forward(place, envelope)
            verdict = Verdict.SUCCESS
        except NodeFailed as error:
            verdict = Verdict.FAILURE
            raise error.outcome from error.__cause__
        except CallError:
            verdict = Verdict.SUCCESS  # the node has answered: what the agent says is not its fault
            raise
        else:
            return reply
        finally:
            place.under_way -= 1
            place.news_of_mine = min(place.news_of_mine, place.under_way)
            now = trio.current_time()
            breaker.tell(ticket, verdict, now - start, now)

    def _away(self, place: Place) -> AgentUnavailable:
        state = place.gone or f"it is {place.state.value} there"
        return AgentUnavailable(
            f"agent {self.name!r} cannot be had at node {place.node!r}: {state}",
            data={"agent": self.name, "node": place.node},
            retry_after=1.0,
        )

    def status(self) -> list[dict[str, Any]]:
        """Its places at other nodes, as plain data."""
        return [
            {
                "name": self.name,
                "node": node,
                "type": place.news.type,
                # what it was before its node was gone is no state of it any more
                "state": State.STOPPED.value if place.gone else place.state.value,
                "reason": f"node {place.gone}" if place.gone else place.news.reason,
                "description": place.news.description,
                "load": round(place.load, 3),
                "size": place.news.size,
                "hops": place.hops,
                "under_way": place.under_way,
                "tools": len(place.catalog.tools),
            }
            for node, place in sorted(self.places.items())
        ]


@attrs.define(eq=False)
class NodeFailed(Exception):
    """The way to a node, or the node, failed; `outcome` is what the caller is told."""

    outcome: CallError


def joined(catalogs: tuple[Catalog, ...]) -> Catalog:
    """One catalog of several; the first that has something is whose it is."""
    if len(catalogs) <= 1:
        return catalogs[0] if catalogs else EMPTY
    first = catalogs[0]
    if all(one == first for one in catalogs[1:]):
        return first
    return Catalog(
        tools=_unique("name", *(one.tools for one in catalogs)),
        resources=_unique("uri", *(one.resources for one in catalogs)),
        templates=_unique("uri_template", *(one.templates for one in catalogs)),
        prompts=_unique("name", *(one.prompts for one in catalogs)),
        completions=any(one.completions for one in catalogs),
        subscriptions=any(one.subscriptions for one in catalogs),
        logging=any(one.logging for one in catalogs),
        instructions=next((one.instructions for one in catalogs if one.instructions), None),
    )


def _unique(key: str, *groups: tuple[Any, ...]) -> tuple[Any, ...]:
    found: dict[str, Any] = {}
    for group in groups:
        for one in group:
            found.setdefault(getattr(one, key), one)
    return tuple(found.values())
