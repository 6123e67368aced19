"""What outlives a node, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.durable.opening import Durable
from flowcore.telemetry import Reading, counter, gauge

TASKS = gauge("flowcore.durable.tasks", "{task}", "Durable tasks that this node has under way.")
RESUMED = counter(
    "flowcore.durable.resumed", "{task}", "Tasks of lost nodes that this one went on with."
)
LOST = counter(
    "flowcore.durable.lost", "{task}", "Tasks whose outcome is unknown, since their node was lost."
)
RESERVED = counter(
    "flowcore.durable.keys_reserved", "{key}", "Idempotency keys reserved among all nodes."
)
REPLAYED = counter(
    "flowcore.durable.keys_replayed",
    "{request}",
    "Requests answered by what another node had done.",
)
REVOKED = gauge(
    "flowcore.durable.revoked", "{credential}", "Credentials and principals that are revoked."
)


def measure(durable: Durable) -> Iterator[Reading]:
    """Its readings."""
    status = durable.status()
    yield TASKS.of(status["tasks"])
    yield RESUMED.of(status["resumed"])
    yield LOST.of(status["lost"])
    yield RESERVED.of(status["reserved"])
    yield REPLAYED.of(status["replayed"])
    yield REVOKED.of(status["revoked"])
