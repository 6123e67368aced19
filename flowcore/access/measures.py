"""What came of logins, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.access.access import Access
from flowcore.telemetry import Reading, counter, gauge

FAILED = counter(
    "flowcore.edge.logins.failed", "{login}", "Requests with wrong credentials.", "edge"
)
REFUSED = counter(
    "flowcore.edge.logins.refused",
    "{login}",
    "Requests refused for failed logins before them.",
    "edge",
)
BLOCKED = gauge("flowcore.edge.logins.blocked", "{address}", "Addresses that have to wait.", "edge")


def measure(access: Access, edge: str) -> Iterator[Reading]:
    """The readings of one edge."""
    status = access.status()
    yield FAILED.of(status["failed_logins"], edge)
    yield REFUSED.of(status["refused_logins"], edge)
    yield BLOCKED.of(status["addresses_waiting"], edge)
