"""Sixty-four nodes in one process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flowcore.swarm.overlay import SwarmOverlay
from support.swarms import Swarm, open_swarm

NAMES = [f"n{number:02d}" for number in range(64)]


async def test_a_tree_of_sixty_four_is_mended_when_its_root_is_lost(autojump_clock: object) -> None:
    tree = Hierarchical(HierarchicalConfig())
    got: list[str] = []

    @asynccontextmanager
    async def setup(swarm: Swarm, name: str, overlay: SwarmOverlay) -> AsyncGenerator[None]:
        async with overlay.listen("t", lambda source, data: got.append(name)):
            yield

    async with open_swarm(NAMES, tree, setup=setup, calm=0.0) as swarm:
        root = next(name for name in NAMES if len(tree.neighbours(name, NAMES)) == 4)
        leaf = next(name for name in NAMES if len(tree.neighbours(name, NAMES)) == 1)
        reached = await swarm[leaf].broadcast("t", b"", deadline=trio.current_time() + 5)
        assert reached.missed == ()
        assert sorted(got) == [name for name in NAMES if name != leaf]
        got.clear()

        swarm.crash(root, silent=True, known=False)
        await trio.sleep(2)
        left = set(swarm.nodes)
        for name in left:
            assert set(swarm[name].reachable()) == left - {name}
            assert max(swarm[name].reachable().values()) <= 2 * tree.reach(64)
        reached = await swarm[leaf].broadcast("t", b"", deadline=trio.current_time() + 5)
        assert reached.missed == (root,)
        assert sorted(got) == sorted(left - {leaf})
