"""The kinds of plugin there are, and what each must yield when it is opened."""

from __future__ import annotations

from collections.abc import Mapping

from flowcore.interfaces import AuthScheme, Balancer, Edge, WorkerSource
from flowcore.requests import Guard
from flowcore.routing import Embedder, Gates, VectorIndexes
from flowcore.state import Consensus, Storage
from flowcore.swarm import Membership, Topology
from flowcore.telemetry import Exporter

KINDS: Mapping[str, type] = {
    "agent": WorkerSource,
    "auth": AuthScheme,
    "balancer": Balancer,
    "consensus": Consensus,
    "edge": Edge,
    "embedder": Embedder,
    "exporter": Exporter,
    "gate": Gates,
    "guard": Guard,
    "membership": Membership,
    "storage": Storage,
    "topology": Topology,
    "vectors": VectorIndexes,
}


def lacks(kind: str, opened: object) -> tuple[str, ...]:
    """The names that what a plugin of this kind has opened should have, and has not."""
    names = (name for name in vars(KINDS[kind]) if not name.startswith("_"))
    return tuple(name for name in names if not hasattr(opened, name))
