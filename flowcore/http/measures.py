"""What an HTTP server has to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from flowcore.http.state import ServerStatistics
from flowcore.telemetry import Reading, counter, gauge

OPEN = gauge(
    "flowcore.edge.connections.open",
    "{connection}",
    "Connections now, handshakes included.",
    "edge",
)
CONNECTIONS = counter(
    "flowcore.edge.connections.accepted", "{connection}", "Connections that came.", "edge"
)
EVICTED = counter(
    "flowcore.edge.connections.evicted",
    "{connection}",
    "Connections that had to go for others.",
    "edge",
)
TIMEOUTS = counter(
    "flowcore.edge.connections.timeouts",
    "{connection}",
    "Connections ended since a handshake, a head, a body or the reading of an answer took too long.",
    "edge",
)
REQUESTS = counter(
    "flowcore.edge.requests", "{request}", "HTTP requests that reached the edge.", "edge"
)
REFUSED = counter(
    "flowcore.edge.refused",
    "{request}",
    "HTTP requests refused before the edge saw them, by status; 0: closed without an answer.",
    "edge",
    "status",
)
FAILURES = counter(
    "flowcore.edge.failures", "{request}", "HTTP requests whose handler raised.", "edge"
)
DISCONNECTS = counter(
    "flowcore.edge.disconnects",
    "{request}",
    "HTTP requests whose client went away before the end.",
    "edge",
)
STREAMS = gauge("flowcore.edge.streams", "{stream}", "Answers in pieces under way.", "edge")
HELD = gauge("flowcore.edge.held", "By", "Bodies of requests held in memory.", "edge")
BYTES = counter("flowcore.edge.io", "By", "Bytes on the wire, within TLS.", "edge", "direction")


def measure_server(server: ServerStatistics, edge: str) -> Iterator[Reading]:
    """The readings of an edge's server."""
    yield OPEN.of(server.open, edge)
    yield CONNECTIONS.of(server.connections, edge)
    yield EVICTED.of(server.evicted, edge)
    yield TIMEOUTS.of(server.timeouts, edge)
    yield REQUESTS.of(server.requests, edge)
    for status, count in server.refused.items():
        yield REFUSED.of(count, edge, str(status))
    yield FAILURES.of(server.failures, edge)
    yield DISCONNECTS.of(server.disconnects, edge)
    yield STREAMS.of(server.streams, edge)
    yield HELD.of(server.held, edge)
    yield BYTES.of(server.bytes_in, edge, "in")
    yield BYTES.of(server.bytes_out, edge, "out")
