"""Links among members as a graph: the shortest ways on it, and the trees of broadcasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

Drawing = Callable[[tuple[str, ...]], Mapping[str, Sequence[str]]]
"""Members, in order → who has links to whom: symmetric, nobody to itself."""

_KEPT = 8
"""Sets of members whose graphs are kept: the one now, and some that come before and after it."""


class Graph:
    """Who has a link to whom, and what follows from it by breadth-first search; each answer is kept."""

    def __init__(self, links: Mapping[str, Sequence[str]]) -> None:
        self._links = {name: tuple(others) for name, others in links.items()}
        self._ways: dict[tuple[str, str], tuple[str, ...]] = {}
        self._trees: dict[str, Mapping[str, tuple[str, ...]]] = {}

    def neighbours(self, node: str) -> tuple[str, ...]:
        """To whom a node has links; () for a stranger."""
        return self._links.get(node, ())

    def distances(self, start: str, without: str | None = None) -> Mapping[str, int]:
        """In how many hops each node is reached, nearest first; not through `without`."""
        found = {start: 0}
        if start not in self._links:
            return {}
        for node in (order := [start]):
            away = found[node] + 1
            for other in self._links[node]:
                if other not in found and other != without:
                    found[other] = away
                    order.append(other)
        return found

    def next_hops(self, node: str, target: str) -> tuple[str, ...]:
        """Neighbours that lead to a target without coming back through the node, the shortest way first."""
        key = (node, target)
        if (kept := self._ways.get(key)) is None:
            if node == target:
                kept = ()
            else:
                away = self.distances(target, without=node)
                leading = (one for one in self.neighbours(node) if one in away)
                kept = tuple(sorted(leading, key=away.__getitem__))
            self._ways[key] = kept
        return kept

    def children(self, root: str, node: str) -> tuple[str, ...]:
        """Who is behind a node in the tree of shortest ways from a root."""
        if (tree := self._trees.get(root)) is None:
            tree = self._trees[root] = self._tree(root)
        return tree.get(node, ())

    def _tree(self, root: str) -> Mapping[str, tuple[str, ...]]:
        if root not in self._links:
            return {}
        found = {root}
        tree = {}
        for node in (order := [root]):
            mine = tuple(one for one in self._links[node] if one not in found)
            if mine:
                tree[node] = mine
                found.update(mine)
                order += mine
        return tree


class GraphTopology:
    """A topology of which only the links have to be said; ways and trees are the shortest on them."""

    def __init__(self, draw: Drawing) -> None:
        self._graph = lru_cache(_KEPT)(lambda members: Graph(draw(members) if members else {}))

    def graph(self, members: Sequence[str]) -> Graph:
        """The links among these members."""
        return self._graph(tuple(members))

    def neighbours(self, node: str, members: Sequence[str]) -> tuple[str, ...]:
        """To whom a node has links."""
        return self.graph(members).neighbours(node)

    def next_hops(self, node: str, target: str, members: Sequence[str]) -> tuple[str, ...]:
        """Neighbours by which `target` is reached, the shortest way first."""
        return self.graph(members).next_hops(node, target)

    def children(self, root: str, node: str, members: Sequence[str]) -> tuple[str, ...]:
        """To whom a node passes on what `root` broadcasts."""
        return self.graph(members).children(root, node)
