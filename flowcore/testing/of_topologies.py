"""What holds for every topology, whatever links it draws."""

from __future__ import annotations

import random
from collections.abc import Sequence

from flowcore.swarm import Graph, Topology
from flowcore.testing.bench import Bench
from flowcore.testing.findings import Wrong

_COUNTS = (1, 2, 3, 5, 8, 17, 64)
_TRIES = 20
_FEW = 0.5
"""New links that the loss of a member may make, on average over the members, for each member."""


def some_members(count: int) -> tuple[str, ...]:
    """So many names, in order."""
    return tuple(f"node-{number:02d}" for number in range(count))


def drawn(topology: Topology, members: Sequence[str]) -> Graph:
    """The links that a topology draws. Raises Wrong if one is not among members, or not on both sides."""
    links = {one: topology.neighbours(one, members) for one in members}
    for one, others in links.items():
        if len(set(others)) != len(others):
            raise Wrong(f"of {members}, {one!r} has the neighbours {others}: one of them twice")
        for other in others:
            if other == one or one not in links.get(other, ()):
                raise Wrong(
                    f"of {members}, {one!r} has the neighbour {other!r}, which has {links.get(other)}"
                )
    return Graph(links)


def hops(topology: Topology, start: str, target: str, members: Sequence[str]) -> int:
    """How many hops lead from one to another by the first of `next_hops`. Raises Wrong if it is no way."""
    node, count = start, 0
    while node != target:
        ways = topology.next_hops(node, target, members)
        if not ways or not set(ways) <= set(topology.neighbours(node, members)):
            raise Wrong(
                f"of {members}, from {start!r} to {target!r}: next_hops gave {ways} at {node!r}"
            )
        node = ways[0]
        count += 1
        if count > len(members):
            raise Wrong(
                f"of {members}, the way from {start!r} to {target!r} goes round in a circle"
            )
    return count


def served(topology: Topology, root: str, members: Sequence[str]) -> list[str]:
    """Whom a broadcast comes to, at most one too many. Raises Wrong if it goes to who is no neighbour."""
    reached = [root]
    for node in reached:
        children = topology.children(root, node, members)
        if not set(children) <= set(topology.neighbours(node, members)):
            raise Wrong(
                f"of {members}, {node!r} passes on to {children}, and not all are neighbours"
            )
        reached += children
        if len(reached) > len(members):
            break
    return reached


def connects(graph: Graph, members: Sequence[str]) -> bool:
    """Whether a way leads from each of the members to each, over no others."""
    left = set(members)
    found = {members[0]}
    for node in (order := [members[0]]):
        for other in graph.neighbours(node):
            if other in left and other not in found:
                found.add(other)
                order.append(other)
    return found == left


async def links_both_ways(bench: Bench) -> None:
    """links are among members, each once and on both sides"""
    async with bench.opened() as topology:
        for count in _COUNTS:
            drawn(topology, some_members(count))


async def leads_everywhere_within_its_reach(bench: Bench) -> None:
    """following next_hops leads from each member to each, in no more hops than `reach` says"""
    async with bench.opened() as topology:
        for count in _COUNTS:
            members = some_members(count)
            reach = topology.reach(count)
            for start in members:
                for target in members:
                    needed = hops(topology, start, target, members)
                    if needed > reach:
                        raise Wrong(
                            f"{start!r} to {target!r} of {count} takes {needed}, not {reach}"
                        )


async def broadcasts_to_each_once(bench: Bench) -> None:
    """whoever begins it, a broadcast along `children` reaches each member once"""
    async with bench.opened() as topology:
        for count in _COUNTS:
            members = some_members(count)
            for root in members:
                reached = served(topology, root, members)
                if sorted(reached) != list(members):
                    raise Wrong(f"{root!r} of {count} reaches {reached}")


async def holds_together(bench: Bench) -> None:
    """as many as it tolerates may be lost, and more once its links are drawn anew"""
    chance = random.Random(1)
    async with bench.opened() as topology:
        for count in _COUNTS[1:]:
            members = some_members(count)
            before = drawn(topology, members)
            tolerated = topology.tolerates(count)
            if not 0 <= tolerated <= count - 2:
                raise Wrong(f"of {count} it tolerates {tolerated}: two must be left")
            for _ in range(_TRIES):
                lost = set(chance.sample(members, tolerated))
                left = tuple(one for one in members if one not in lost)
                if not connects(before, left):
                    raise Wrong(f"of {count} it does not hold without {sorted(lost)}")
                lost = set(chance.sample(members, chance.randrange(count)))
                left = tuple(one for one in members if one not in lost)
                if not connects(drawn(topology, left), left):
                    raise Wrong(f"{left} are not connected")


async def moves_few_links(bench: Bench) -> None:
    """the loss of a member makes few new links among the others, on average over the members"""
    async with bench.opened() as topology:
        for count in _COUNTS[4:]:
            members = some_members(count)
            mean = sum(moved(topology, one, members) for one in members) / count
            if mean > _FEW * count:
                raise Wrong(f"the loss of one of {count} makes {mean:.1f} new links on average")


def moved(topology: Topology, gone: str, members: Sequence[str]) -> int:
    """How many links there are anew among the others when one of the members is gone."""
    left = tuple(one for one in members if one != gone)
    before, after = drawn(topology, members), drawn(topology, left)
    return sum(len({*after.neighbours(one)} - {*before.neighbours(one)}) for one in left) // 2


async def is_the_same_everywhere(bench: Bench) -> None:
    """it says the same on every node that knows the same members, whatever it was asked before"""
    async with bench.opened(seed=1) as one, bench.opened(seed=2) as other:
        for count in _COUNTS:
            members = some_members(count)
            for node in members:
                if _said(one, node, members) != _said(other, node, list(members)):
                    raise Wrong(f"of {members}, asked of {node!r}, one node says another thing")
            other.neighbours(members[0], members[:1])


def _said(topology: Topology, node: str, members: Sequence[str]) -> tuple[object, ...]:
    return (
        topology.neighbours(node, members),
        topology.next_hops(members[-1], node, members),
        topology.children(node, members[0], members),
    )


async def leads_to_no_stranger(bench: Bench) -> None:
    """to whoever is no member no way leads, and nothing is passed on for them"""
    async with bench.opened() as topology:
        members = some_members(5)
        ways = topology.next_hops(members[0], "stranger", members)
        children = topology.children("stranger", members[0], members)
        if ways or children:
            raise Wrong(f"to a stranger lead {ways}, and its broadcast goes on to {children}")
