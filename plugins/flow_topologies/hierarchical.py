"""`hierarchical`: a tree, each node with a parent above it and a few children below."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial

import attrs

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.swarm import GraphTopology


@attrs.frozen(kw_only=True)
class HierarchicalConfig:
    """How wide and how deep the tree is."""

    branching: int = setting(
        4, validator=v.in_range(2, 64), help="how many children a node has at most"
    )
    levels: int = setting(
        4,
        validator=v.in_range(1, 16),
        help="levels below the root; members beyond what they hold are shared out among those above the last",
    )


class Hierarchical(GraphTopology):
    """A complete tree whose places are given by hash, so that a lost node is replaced and nobody moves up.

    The places are numbered level by level, as in a heap: place i hangs from place (i - 1) // b. Each place in
    its turn, from the root on, takes of the members without a place the one that is first in its own order,
    the hash of place and name (highest random weight: Thaler, Ravishankar 1998). So the tree is a function
    of the members, and when one is lost:

    - places before its own had not taken it and stay as they are;
    - its own place takes the next in its order, from any later place with the same probability: mostly a
      leaf, as most are. Whoever hung from the lost one hangs from it now: b + 1 new links at most;
    - the place left free is filled in the same way from those after it. What is left halves each time, so
      there are about ln n such steps, nearly all of them from leaf to leaf: one new link each.

    Of 64 members with b = 4, a loss makes 3.4 new links on average and 11 at most; if the places were taken
    in the order of names, which closes up, 12 and 47. A test holds this down for any names. A member that
    comes does the same backwards. Two members are at most twice the depth apart. An inner node's loss parts
    what hangs from it from the rest until its place is taken.
    """

    def __init__(self, config: HierarchicalConfig) -> None:
        super().__init__(self._drawn)
        self._branching = config.branching
        branching, levels = config.branching, config.levels
        self._above_last: int = sum(branching**level for level in range(levels - 1))
        """How many places are above the last level but one: the first place of that one."""
        self._last_inner: int = branching ** (levels - 1)
        self._held: int = self._above_last + self._last_inner * (1 + branching)

    def _parent(self, place: int) -> int:
        """From which place another one hangs."""
        if place < self._held:
            return (place - 1) // self._branching
        return self._above_last + (place - self._held) % self._last_inner

    def _drawn(self, members: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
        left = list(members)
        placed: list[str] = []
        links: dict[str, list[str]] = {}
        for place in range(len(members)):
            one = max(left, key=partial(_weight, place))
            left.remove(one)
            placed.append(one)
            links[one] = []
            if place:
                parent = placed[self._parent(place)]
                links[one].append(parent)
                links[parent].append(one)
        return links

    def reach(self, members: int) -> int:
        """Up from the deepest place and down to another one of the deepest."""
        depths = [0]
        branches = [0]  # from which child of the root each place hangs, or is
        deepest: dict[int, int] = {}
        for place in range(1, members):
            parent = self._parent(place)
            depths.append(depths[parent] + 1)
            branches.append(branches[parent] or place)
            deepest[branches[place]] = depths[place]
        return sum(sorted(deepest.values())[-2:])

    def tolerates(self, members: int) -> int:
        """None: it might be an inner node."""
        del members
        return 0


@lru_cache(64 * 1024)
def _weight(place: int, name: str) -> bytes:
    """How far in front a name is in the order of a place."""
    return hashlib.blake2b(b"%d/%b" % (place, name.encode()), digest_size=8).digest()


@asynccontextmanager
async def open_hierarchical(
    config: HierarchicalConfig, context: Context
) -> AsyncGenerator[Hierarchical]:
    """A tree as wide and as deep as the settings say."""
    del context
    yield Hierarchical(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "topology", "hierarchical", HierarchicalConfig, open_hierarchical, stability="stable"
        )
    )
