"""What the connections of one server share, and what it counts."""

from __future__ import annotations

import attrs
import trio

from flowcore.http.limits import Limits
from flowcore.http.messages import Handler

SWEEP = 0.5
"""Seconds between two looks at the connections' deadlines: a deadline is late by at most twice this."""
INLET = 256 << 10
"""Most bytes of a piece of a large body."""


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """What a server has done since it opened."""

    open: int
    """Connections now, handshakes included."""
    streams: int
    """Answers in pieces under way now."""
    held: int
    """Bytes of requests' bodies held now."""
    connections: int
    requests: int
    refused: dict[int, int]
    """Answers by status that no handler saw; 0: connections closed without one."""
    failures: int
    """Requests whose handler raised."""
    disconnects: int
    """Requests whose client went away before the end of their answer, so that they were cancelled."""
    evicted: int
    """Connections and handshakes that had to go because another came and there was no room."""
    timeouts: int
    """Connections ended because a head, a body, a handshake or the reading of an answer took too long."""
    bytes_in: int
    bytes_out: int


@attrs.define(eq=False)
class ServerState:
    """One server's handler, limits and counts. Connections add to the counts themselves."""

    handler: Handler
    limits: Limits
    draining: trio.Event = attrs.field(factory=trio.Event)
    now: float = 0.0
    """trio's clock as of the last sweep."""
    inlet: memoryview = attrs.field(factory=lambda: memoryview(bytearray(INLET)))
    """Where the pieces of large bodies come in, one after the other."""
    latest: object = None
    """The connection that was answered last."""
    streams: int = 0
    held: int = 0
    connections: int = 0
    requests: int = 0
    refused: dict[int, int] = attrs.field(factory=dict)
    failures: int = 0
    disconnects: int = 0
    timeouts: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def refuse(self, status: int) -> None:
        """Count an answer that the handler never saw."""
        self.refused[status] = self.refused.get(status, 0) + 1

    def statistics(self, *, open_now: int, evicted: int) -> ServerStatistics:
        """All counts as of now."""
        return ServerStatistics(
            open=open_now,
            streams=self.streams,
            held=self.held,
            connections=self.connections,
            requests=self.requests,
            refused=dict(self.refused),
            failures=self.failures,
            disconnects=self.disconnects,
            evicted=evicted,
            timeouts=self.timeouts,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
        )
