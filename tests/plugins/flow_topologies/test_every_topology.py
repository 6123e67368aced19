"""What holds for every topology among 2 to 64 members, with any names and settings."""

from __future__ import annotations

import importlib.metadata
import math
import pathlib
import pkgutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flow_topologies
from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.mesh import Mesh, MeshConfig
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore import ConfigError
from flowcore.config import Document, NothingKnown, structure
from flowcore.swarm import Topology
from flowcore.testing import of_topologies as of

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,11}", fullmatch=True)
MEMBERS = st.sets(NAMES, min_size=2, max_size=64).map(lambda names: tuple(sorted(names)))
MESH = st.just(Mesh())
RING = st.integers(1, 6).map(lambda count: Ring(RingConfig(successors=count)))
TREE = st.builds(
    lambda branching, levels: Hierarchical(HierarchicalConfig(branching=branching, levels=levels)),
    st.integers(2, 6),
    st.integers(1, 6),
)
STAR = st.one_of(st.none(), NAMES).map(lambda hub: Star(StarConfig(hub=hub)))
TOPOLOGY = st.one_of(MESH, STAR, RING, TREE)


def test_there_are_four_and_each_is_announced_as_a_plugin() -> None:
    names = {module.name for module in pkgutil.iter_modules(flow_topologies.__path__)}
    assert names == {"hierarchical", "mesh", "ring", "star"}
    points = importlib.metadata.entry_points(group="flowcore.plugins")
    assert {f"flow_topologies.{name}" for name in names} <= {point.value for point in points}


@given(TOPOLOGY, MEMBERS)
def test_links_go_both_ways_and_connect_all(topology: Topology, members: tuple[str, ...]) -> None:
    assert of.connects(of.drawn(topology, members), members)


@settings(max_examples=60)
@given(TOPOLOGY, MEMBERS)
def test_each_is_reached_within_the_bound(topology: Topology, members: tuple[str, ...]) -> None:
    graph = of.drawn(topology, members)
    reach = topology.reach(len(members))
    for start in members[:: max(1, len(members) // 8)]:
        shortest = graph.distances(start)
        for target in members:
            needed = of.hops(topology, start, target, members)
            assert needed == shortest[target] <= reach


@given(TOPOLOGY, MEMBERS)
def test_the_bound_is_met_by_somebody(topology: Topology, members: tuple[str, ...]) -> None:
    graph = of.drawn(topology, members)
    longest = max(max(graph.distances(start).values()) for start in members)
    assert longest == topology.reach(len(members))


@pytest.mark.parametrize("count", range(2, 65))
def test_the_bounds_are_those_of_the_books(count: int) -> None:
    assert Mesh().reach(count) == 1
    assert Star(StarConfig()).reach(count) <= 2
    for successors in range(1, 6):
        bound = math.ceil(count / (2 * successors))
        assert Ring(RingConfig(successors=successors)).reach(count) <= bound
    for branching in range(2, 6):
        tree = Hierarchical(HierarchicalConfig(branching=branching, levels=6))
        depth = math.ceil(math.log(count * (branching - 1) + 1, branching) - 1e-9) - 1
        assert tree.reach(count) <= 2 * depth
    for levels in range(1, 4):
        assert Hierarchical(HierarchicalConfig(levels=levels)).reach(count) <= 2 * levels


@settings(max_examples=60)
@given(TOPOLOGY, MEMBERS, st.data())
def test_a_broadcast_reaches_each_once(
    topology: Topology, members: tuple[str, ...], data: st.DataObject
) -> None:
    root = data.draw(st.sampled_from(members))
    assert sorted(of.served(topology, root, members)) == list(members)


@given(TOPOLOGY, MEMBERS, st.randoms(use_true_random=False))
def test_what_it_tolerates_parts_nobody(topology, members, chance) -> None:  # type: ignore[no-untyped-def]
    lost = set(chance.sample(members, topology.tolerates(len(members))))
    left = tuple(one for one in members if one not in lost)
    assert len(left) >= 2
    assert of.connects(of.drawn(topology, members), left)  # at once
    assert of.connects(of.drawn(topology, left), left)  # and anew


@given(TOPOLOGY, MEMBERS, st.randoms(use_true_random=False))
def test_whoever_is_lost_the_rest_is_connected_anew(topology, members, chance) -> None:  # type: ignore[no-untyped-def]
    left = tuple(sorted(chance.sample(members, chance.randint(1, len(members)))))
    assert of.connects(of.drawn(topology, left), left)


@given(st.integers(1, 6), MEMBERS)
def test_a_ring_of_k_successors_is_parted_by_2k_and_by_no_fewer(
    successors: int, members: tuple[str, ...]
) -> None:
    ring = Ring(RingConfig(successors=successors))
    graph = of.drawn(ring, members)
    around = set(graph.neighbours(members[0]))
    left = tuple(one for one in members if one not in around)
    assert len(around) == ring.tolerates(len(members)) + 1
    if len(left) >= 2:
        assert not of.connects(graph, left)


@given(MEMBERS, st.data())
def test_in_a_mesh_a_loss_makes_no_new_link(members: tuple[str, ...], data: st.DataObject) -> None:
    assert of.moved(Mesh(), data.draw(st.sampled_from(members)), members) == 0


@given(RING, MEMBERS, st.data())
def test_in_a_ring_a_loss_makes_k_new_links(
    ring: Ring, members: tuple[str, ...], data: st.DataObject
) -> None:
    assert of.moved(ring, data.draw(st.sampled_from(members)), members) <= ring._successors


@given(STAR, MEMBERS, st.data())
def test_in_a_star_only_the_hubs_loss_makes_new_links(
    star: Star, members: tuple[str, ...], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(members))
    assert of.moved(star, gone, members) == (len(members) - 2 if gone == star.hub(members) else 0)


@settings(max_examples=25)
@given(st.integers(2, 6), MEMBERS)
def test_in_a_tree_a_loss_makes_few_new_links_on_average(
    branching: int, members: tuple[str, ...]
) -> None:
    tree = Hierarchical(HierarchicalConfig(branching=branching, levels=6))
    mean = sum(of.moved(tree, one, members) for one in members) / len(members)
    assert mean <= 2 + math.log(len(members))


def test_in_a_tree_the_loss_of_any_of_64_moves_a_few_links_as_its_docstring_says() -> None:
    tree = Hierarchical(HierarchicalConfig())
    members = of.some_members(64)
    moved = [of.moved(tree, one, members) for one in members]
    assert sum(moved) / 64 == pytest.approx(3.4, abs=0.05)
    assert max(moved) == 11


@given(TREE, MEMBERS)
def test_a_tree_is_as_wide_as_it_was_told_where_it_has_levels_enough(
    tree: Hierarchical, members: tuple[str, ...]
) -> None:
    graph = of.drawn(tree, members)
    widest = max(len(graph.neighbours(one)) for one in members)
    if len(members) <= tree._held:
        assert widest <= tree._branching + 1


def test_a_lost_hub_is_followed_by_the_next_one_and_comes_back_into_its_place() -> None:
    star = Star(StarConfig(hub="delta"))
    members = ("alpha", "beta", "delta", "gamma")
    assert star.neighbours("beta", members) == ("delta",)
    assert star.neighbours("beta", ("alpha", "beta", "gamma")) == ("alpha",)
    assert star.neighbours("beta", ("beta", "gamma")) == ("gamma",)
    assert star.neighbours("beta", members) == ("delta",)


@pytest.mark.parametrize(
    ("config", "table", "words"),
    [
        (RingConfig, {"successors": 0}, "between 1 and 32, not 0"),
        (RingConfig, {"successors": 1.5}, "expected"),
        (StarConfig, {"hub": "Alpha!"}, "the name of a node"),
        (HierarchicalConfig, {"branching": 1}, "between 2 and 64, not 1"),
        (HierarchicalConfig, {"levels": 17}, "between 1 and 16, not 17"),
        (MeshConfig, {"hub": "alpha"}, "unknown"),
    ],
)
def test_wrong_settings_are_refused(config: type, table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        structure(Document(tree=table, folder=pathlib.Path()), config, NothingKnown())
