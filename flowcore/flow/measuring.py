"""What a node has to tell as metrics: its rooms, each by what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from flowcore.access.measures import measure as measure_access
from flowcore.agents.measures import measures as measure_agents
from flowcore.assembly import Status
from flowcore.durable.measures import measure as measure_durable
from flowcore.requests.measures import measures as measure_requests
from flowcore.state.measures import measure as measure_state
from flowcore.telemetry import Metrics, Reading, Telemetry, counter, gauge
from flowcore.telemetry.measures import measure as measure_telemetry

if TYPE_CHECKING:
    from flowcore.access import Access
    from flowcore.agents import Agent
    from flowcore.assembly import ComponentStatus
    from flowcore.durable import Durable, Single
    from flowcore.federation import Federation
    from flowcore.requests import Requests
    from flowcore.routing import Router
    from flowcore.state import State
    from flowcore.supervise import Supervisor
    from flowcore.swarm import Swarm

UPTIME = gauge("flowcore.node.uptime", "s", "Since the node began to open.")
READY = gauge("flowcore.node.ready", "{node}", "1 while new work is welcome, else 0.")
DRAINING = gauge("flowcore.node.draining", "{node}", "1 once a drain has begun, else 0.")
COMPONENTS = gauge("flowcore.components", "{component}", "Components by status.", "status")
UNWELL = gauge(
    "flowcore.component.unwell",
    "{component}",
    "1 for each component that is not ok, by its status.",
    "component",
    "status",
)
RESTARTS = counter(
    "flowcore.supervisor.restarts",
    "{child}",
    "Children that a supervisor started again.",
    "supervisor",
)
SINGLETON = gauge(
    "flowcore.singleton.here", "{agent}", "1 where this node runs the singleton.", "agent"
)


class Opened(NamedTuple):
    """The rooms of a node; None for one that it has not, or that is closed."""

    swarm: Swarm | None
    federation: Federation | None
    state: State | None
    durable: Durable | None
    router: Router | None


class Node(Protocol):
    """A node, as it is measured."""

    requests: Requests
    agents: dict[str, Agent]
    access: dict[str, Access]
    singletons: dict[str, Single]
    telemetry: Telemetry
    started: float
    draining: trio.Event

    @property
    def ready(self) -> bool: ...
    def components(self) -> tuple[ComponentStatus, ...]: ...
    def supervisors(self) -> Iterator[tuple[str, Supervisor]]: ...
    def opened(self) -> Opened: ...


Parts = Iterator[Callable[[], Iterable[Reading]]]


def watch_node(flow: Node, metrics: Metrics) -> None:
    """Have a node's own rooms read, those of them that are open."""
    metrics.add("node", lambda: (lambda: _node(flow),))
    metrics.add(
        "requests", lambda: measure_requests(flow.requests) if hasattr(flow, "requests") else ()
    )
    metrics.add("agents", lambda: measure_agents(flow.agents.values()))
    metrics.add("edges", lambda: _accesses(flow))
    metrics.add("swarm", lambda: _swarm(flow))
    metrics.add("state", lambda: _state(flow))
    metrics.add("router", lambda: _router(flow))
    metrics.add("telemetry", lambda: (partial(measure_telemetry, flow.telemetry),))


def _node(flow: Node) -> Iterator[Reading]:
    yield UPTIME.of(trio.current_time() - flow.started)
    yield READY.of(int(flow.ready))
    yield DRAINING.of(int(flow.draining.is_set()))
    components = flow.components()
    states = [one.status for one in components]
    for status in Status:
        yield COMPONENTS.of(states.count(status), status.value)
    for one in components:
        if one.status is not Status.OK:
            yield UNWELL.of(1, one.component, one.status.value)
    for name, supervisor in flow.supervisors():
        yield RESTARTS.of(supervisor.statistics().restarts, name)
    for name, single in flow.singletons.items():
        yield SINGLETON.of(int(bool(single.fence)), name)


def _accesses(flow: Node) -> Parts:
    for name, access in list(flow.access.items()):
        yield partial(measure_access, access, name)


def _swarm(flow: Node) -> Parts:
    open_ = flow.opened()
    if open_.swarm is not None:
        from flowcore.swarm.measures import measure as measure_swarm

        yield partial(measure_swarm, open_.swarm)
    if open_.federation is not None:
        from flowcore.federation.measures import measure as measure_federation

        yield partial(measure_federation, open_.federation)


def _state(flow: Node) -> Parts:
    open_ = flow.opened()
    if open_.state is not None:
        yield partial(measure_state, open_.state)
    if open_.durable is not None:
        yield partial(measure_durable, open_.durable)


def _router(flow: Node) -> Parts:
    router = flow.opened().router
    if router is not None:
        from flowcore.routing.measures import measure as measure_router

        yield partial(measure_router, router)
