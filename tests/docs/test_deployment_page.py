"""The figures of docs/deployment.md that can be counted are those of the code."""

from __future__ import annotations

import re

from flow_topologies.hierarchical import Hierarchical, HierarchicalConfig
from flow_topologies.mesh import Mesh
from flow_topologies.ring import Ring, RingConfig
from flow_topologies.star import Star, StarConfig
from flowcore.swarm import Topology
from support.node import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text()
NAMES = [f"n{number:02}" for number in range(64)]
TOPOLOGIES: dict[str, Topology] = {
    "mesh": Mesh(),
    "ring": Ring(RingConfig()),
    "hierarchical": Hierarchical(HierarchicalConfig()),
    "star": Star(StarConfig()),
}


def test_the_measured_tables_are_those_of_the_results() -> None:
    from benchmarks.deployment import page

    assert page() == PAGE


def test_the_table_of_topologies_is_what_they_draw() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) to (\d+) \| (\d+) \| (\d+) \| (\d+) \|", PAGE, re.MULTILINE
    )
    told = {name: tuple(map(int, figures)) for name, *figures in rows}
    for name, topology in TOPOLOGIES.items():
        links = [len(topology.neighbours(one, NAMES)) for one in NAMES]
        reach, tolerates = topology.reach(len(NAMES)), topology.tolerates(len(NAMES))
        assert told[name] == (min(links), max(links), sum(links) // 2, reach, tolerates)
