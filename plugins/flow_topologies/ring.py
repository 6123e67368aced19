"""`ring`: members in a circle, each with links to the next k and the k before it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.swarm import GraphTopology


@attrs.frozen(kw_only=True)
class RingConfig:
    """How many links hold the circle together."""

    successors: int = setting(
        2,
        validator=v.in_range(1, 32),
        help="how many next nodes each node has links to; as many before it have links to it",
    )


class Ring(GraphTopology):
    """The circulant graph C_n(1, ..., k): members in the order of their names, k links forth and k back.

    Half way round is n/2 places, k of which a hop takes: ceil(floor(n/2) / k) hops at most. It is Harary's
    graph of 2k links a node (The maximum connectivity of a graph, 1962), so no 2k - 1 losses part it. Who
    goes takes 2k links along, and those around close the gap with k new ones; who comes gets 2k, and k of
    those around go.
    """

    def __init__(self, config: RingConfig) -> None:
        super().__init__(self._drawn)
        self._successors = config.successors

    def _drawn(self, members: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
        count = len(members)
        steps = range(1, min(self._successors, count // 2) + 1)
        return {
            one: tuple(
                dict.fromkeys(
                    members[(place + way * step) % count]
                    for way in (1, -1)
                    for step in reversed(steps)
                )
            )
            for place, one in enumerate(members)
        }

    def reach(self, members: int) -> int:
        """Half way round, k places a hop."""
        return -(-(members // 2) // self._successors)

    def tolerates(self, members: int) -> int:
        """One less than each has links."""
        return max(0, min(2 * self._successors - 1, members - 2))


@asynccontextmanager
async def open_ring(config: RingConfig, context: Context) -> AsyncGenerator[Ring]:
    """A ring of as many successors as the settings say."""
    del context
    yield Ring(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("topology", "ring", RingConfig, open_ring, stability="stable"))
