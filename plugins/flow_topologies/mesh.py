"""`mesh`: everybody has a link to everybody, so every way is one hop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs

from flowcore.hookspecs import Context, Factory, Registry, hookimpl


@attrs.frozen(kw_only=True)
class MeshConfig:
    """There is nothing to set."""


class Mesh:
    """The complete graph.

    One hop to anybody, whoever is lost; n - 1 links a node, n(n - 1)/2 in all. A member that comes or goes
    moves no link but its own. A broadcast goes from its root to each directly.
    """

    def neighbours(self, node: str, members: Sequence[str]) -> tuple[str, ...]:
        """All others."""
        return tuple(one for one in members if one != node) if node in members else ()

    def next_hops(self, node: str, target: str, members: Sequence[str]) -> tuple[str, ...]:
        """The target itself, then any other: all of them have a link to it."""
        others = self.neighbours(node, members)
        if target not in others:
            return ()
        return (target, *(one for one in others if one != target))

    def children(self, root: str, node: str, members: Sequence[str]) -> tuple[str, ...]:
        """All others for the root, nobody for them."""
        return self.neighbours(node, members) if node == root else ()

    def reach(self, members: int) -> int:
        """One hop."""
        return min(1, members - 1)

    def tolerates(self, members: int) -> int:
        """Any, as long as two are left."""
        return max(0, members - 2)


@asynccontextmanager
async def open_mesh(config: MeshConfig, context: Context) -> AsyncGenerator[Mesh]:
    """The complete graph."""
    del config, context
    yield Mesh()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("topology", "mesh", MeshConfig, open_mesh, stability="stable"))
