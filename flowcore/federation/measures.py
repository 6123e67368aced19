"""What the federation has to tell as metrics: requests that travel between nodes."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.federation.federation import Federation
from flowcore.telemetry import Reading, counter, gauge

AGENTS = gauge(
    "flowcore.federation.agents", "{agent}", "Agents that another node has announced.", "peer"
)
BREAKER = gauge(
    "flowcore.federation.breaker",
    "{node}",
    "1 where the breaker of another node is not closed.",
    "peer",
)
FORWARDED = counter("flowcore.federation.forwarded", "{request}", "Requests sent to other nodes.")
FAILED = counter(
    "flowcore.federation.failed",
    "{request}",
    "Requests that another node, or the way to it, failed.",
)
UNKNOWN = counter(
    "flowcore.federation.unknown",
    "{request}",
    "Requests of which nobody knows whether they were done.",
)
SERVED = counter(
    "flowcore.federation.served", "{request}", "Requests of other nodes that were done here."
)
REFUSED = counter(
    "flowcore.federation.refused", "{request}", "Requests of other nodes that were refused."
)
EVENTS_LOST = counter(
    "flowcore.federation.events_lost", "{event}", "Events that others were not told."
)


def measure(federation: Federation) -> Iterator[Reading]:
    """Its readings."""
    status = federation.status()
    for node in status["nodes"]:
        if not node["gone"]:
            yield AGENTS.of(node["agents"], node["name"])
            yield BREAKER.of(int(node["breaker"] != "closed"), node["name"])
    yield FORWARDED.of(status["forwarded"])
    yield FAILED.of(status["failed"])
    yield UNKNOWN.of(status["unknown"])
    yield SERVED.of(status["served"])
    yield REFUSED.of(status["refused"])
    yield EVENTS_LOST.of(status["events"]["lost"])
