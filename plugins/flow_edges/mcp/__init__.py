"""MCP over Streamable HTTP: one endpoint for every version from 2025-03-26 on.

Read in this order: `endpoint` (which request goes which way), `door` (who may come in), `http_modern` and
`http_handshake` (the two eras), `service` (requests become envelopes), `running`, `exchange`, `parking`
(calls that speak and ask), `channel` (streams that outlive their connections).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from flow_edges.mcp.settings import McpSettings, is_loopback, mentions
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.telemetry import Reading, gauge

if TYPE_CHECKING:
    from flowcore.http import Server


@attrs.frozen
class McpEdge:
    """An open MCP endpoint."""

    server: Server
    path: str
    sessions: Callable[[], int]
    """How many sessions of clients there are now."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        scheme = "https" if self.server.secure else "http"
        return tuple(f"{scheme}://{address}{self.path}" for address in self.server.addresses)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        from flowcore.http import measure_server

        yield from measure_server(self.server.statistics(), name)
        yield SESSIONS.of(self.sessions(), name)


SESSIONS = gauge(
    "flowcore.edge.sessions", "{session}", "Sessions of clients with a handshake.", "edge"
)


@asynccontextmanager
async def open_mcp(config: McpSettings, context: Context) -> AsyncGenerator[McpEdge]:
    """Serve until the block is left; then let streams end and requests finish."""
    import trio

    from flow_edges.mcp.door import Door
    from flow_edges.mcp.endpoint import Endpoint
    from flow_edges.mcp.shared import open_shared
    from flowcore.http import Certificates, open_http_server

    tls = None if config.tls is None else Certificates(config.tls, context.config_dir)
    admits = None if tls is None else context.access.admitting(tls.admits)

    async with open_shared(context.host, config, context.name) as shared:
        door = Door(context.access, config)
        endpoint = Endpoint(shared, config, door)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.handshake.sessions.expire)
            async with open_http_server(
                endpoint.handle, config.bind, limits=config.http, context=tls, admits=admits
            ) as server:
                door.resource.port = server.addresses[0].port
                try:
                    yield McpEdge(server, config.path, endpoint.handshake.sessions.__len__)
                finally:
                    endpoint.handshake.sessions.close_streams()
                    await server.drain(config.drain)
            endpoint.handshake.sessions.close_all()
            nursery.cancel_scope.cancel()


def _claims(config: McpSettings) -> tuple[str, ...]:
    return config.bind.claims()


def _exposed(config: McpSettings) -> str | None:
    return None if is_loopback(config.bind.host) else str(config.bind)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "edge",
            "mcp",
            McpSettings,
            open_mcp,
            stability="stable",
            claims=_claims,
            exposed=_exposed,
            mentions=mentions,
        )
    )
