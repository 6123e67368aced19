"""What SWIM has to tell as metrics. How many nodes are alive, suspect or dead the swarm tells for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowcore.telemetry import Reading, counter, gauge

PROBES = counter(
    "flowcore.membership.probes",
    "{probe}",
    "Probes of other nodes, by what came of them.",
    "outcome",
)
INDIRECT = counter(
    "flowcore.membership.indirect_probes", "{probe}", "Probes that others were asked to make."
)
SUSPICIONS = counter("flowcore.membership.suspicions", "{suspicion}", "Suspicions that began here.")
FALSE = counter(
    "flowcore.membership.false_suspicions",
    "{suspicion}",
    "Suspicions of nodes that turned out to be alive.",
)
DEAD = counter("flowcore.membership.deaths", "{node}", "Nodes that were declared dead here.")
FALSE_DEATHS = counter(
    "flowcore.membership.false_deaths", "{node}", "Of these, those that were alive."
)
REFUTED = counter(
    "flowcore.membership.refutations", "{suspicion}", "Suspicions of this node that it has refuted."
)
HEALTH = gauge(
    "flowcore.membership.health",
    "{score}",
    "Lifeguard's local health: 0 is well, above it is slow itself.",
)
RTT = gauge("flowcore.membership.rtt", "s", "Mean round trip of probes, over members.")
BYTES = counter("flowcore.membership.io", "By", "Bytes of gossip and probes.", "direction")
REFUSED = counter(
    "flowcore.membership.refused", "{message}", "What was not believed, and why.", "reason"
)


def of_swim(status: Mapping[str, Any]) -> Iterator[Reading]:
    """The readings of an engine that runs, by its status."""
    probes, suspicions = status["probes"], status["suspicions"]
    for outcome in ("begun", "answered", "failed"):
        yield PROBES.of(probes[outcome], outcome)
    yield INDIRECT.of(probes["indirect"])
    yield SUSPICIONS.of(suspicions["begun"])
    yield FALSE.of(suspicions["false"])
    yield DEAD.of(suspicions["declared_dead"])
    yield FALSE_DEATHS.of(suspicions["false_deaths"])
    yield REFUTED.of(suspicions["refuted_here"])
    yield HEALTH.of(status["health"]["score"])
    yield RTT.of(status["rtt"]["mean"])
    yield BYTES.of(status["bytes"]["sent"], "out")
    yield BYTES.of(status["bytes"]["received"], "in")
    for reason, count in status["refused"].items():
        yield REFUSED.of(count, reason)
