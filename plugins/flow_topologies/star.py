"""`star`: one hub in the middle, and a link from it to each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.swarm import GraphTopology


@attrs.frozen(kw_only=True)
class StarConfig:
    """Who stands in the middle."""

    hub: str | None = setting(
        None,
        validator=v.matches(r"[a-z0-9][a-z0-9-]{0,62}", "the name of a node"),
        help="the hub; while it is lost, and if unset, the first of the members by name",
    )


class Star(GraphTopology):
    """The star. Two hops between any two, one link a node but for the hub.

    The hub is the one that the settings name; where it is no member, the first of those there are, by name:
    all nodes find the same next hub by themselves. A member that comes or goes moves no link but its own,
    unless the hub changes by it: then all of them. So name a hub that stays, or expect it to change when a
    node joins whose name comes first. The hub's loss parts all others until its place is taken.
    """

    def __init__(self, config: StarConfig) -> None:
        super().__init__(self._drawn)
        self._named = config.hub

    def _drawn(self, members: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
        hub = self.hub(members)
        leaves = tuple(one for one in members if one != hub)
        return {hub: leaves, **dict.fromkeys(leaves, (hub,))}

    def hub(self, members: Sequence[str]) -> str:
        """Who stands in the middle of these members."""
        named = self._named
        return named if named is not None and named in members else min(members)

    def reach(self, members: int) -> int:
        """Two hops, by the hub."""
        return min(2, members - 1)

    def tolerates(self, members: int) -> int:
        """None: it might be the hub."""
        del members
        return 0


@asynccontextmanager
async def open_star(config: StarConfig, context: Context) -> AsyncGenerator[Star]:
    """A star around the hub that the settings name."""
    del context
    yield Star(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("topology", "star", StarConfig, open_star, stability="stable"))
