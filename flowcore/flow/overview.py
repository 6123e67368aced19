"""What is true of a node now, in plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import trio

from flowcore.agents import Directory
from flowcore.assembly import FlowConfig, Plugins
from flowcore.flow.measuring import Node
from flowcore.flow.release import version
from flowcore.requests import Guard


class Shown(Node, Protocol):
    """A node, as it is looked at."""

    config: FlowConfig
    plugins: Plugins
    directory: Directory
    guards: dict[str, Guard]

    @property
    def name(self) -> str: ...
    @property
    def endpoints(self) -> Mapping[str, tuple[str, ...]]: ...


def overview(flow: Shown) -> dict[str, Any]:
    """The status without what there is of each component and agent: quick, however many there are."""
    rooms = flow.opened()
    return {
        "node": flow.name,
        "version": version(),
        "uptime": round(trio.current_time() - flow.started, 3),
        "draining": flow.draining.is_set(),
        "ready": flow.ready,
        "endpoints": {name: list(urls) for name, urls in flow.endpoints.items()},
        "access": {name: access.status() for name, access in sorted(flow.access.items())},
        "guards": {
            name: {"type": flow.config.guard[name].type, **guard.status()}
            for name, guard in sorted(flow.guards.items())
        },
        "router": None if rooms.router is None else rooms.router.status(),
        "swarm": None if rooms.swarm is None else rooms.swarm.status(),
        "federation": None if rooms.federation is None else rooms.federation.status(),
        "durable": None if rooms.durable is None else rooms.durable.status(),
        "singletons": {name: one.status() for name, one in sorted(flow.singletons.items())},
        "state": None if rooms.state is None else rooms.state.status(),
        "requests": attrs.asdict(flow.requests.statistics()),
        "tasks": attrs.asdict(flow.requests.tasks.statistics()),
        "idempotency": attrs.asdict(flow.requests.keys.statistics()),
        "telemetry": flow.telemetry.status(),
        "collisions": list(flow.directory.collisions),
        "plugins": {
            state: sum(one.state == state for one in flow.plugins.found)
            for state in ("loaded", "broken", "disabled")
        },
    }
