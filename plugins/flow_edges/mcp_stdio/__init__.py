"""MCP over flowserve's own standard input and output, for clients that start their servers themselves.

Read `connection` first: which message goes which way; `lines` and `descriptors` are its plumbing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs

from flow_edges.mcp.settings import StdioSettings, mentions
from flowcore.hookspecs import Context, Factory, Registry, hookimpl


@attrs.frozen
class StdioEdge:
    """An open MCP server on stdio."""

    endpoints: tuple[str, ...] = ("stdio",)


@asynccontextmanager
async def open_mcp_stdio(config: StdioSettings, context: Context) -> AsyncGenerator[StdioEdge]:
    """Serve on descriptors 0 and 1 until the block is left.

    While it is open whatever else is printed goes to standard error: standard output is the protocol's.
    """
    import trio

    from flow_edges.mcp.shared import open_shared
    from flow_edges.mcp_stdio.connection import StdioConnection
    from flow_edges.mcp_stdio.descriptors import open_standard_streams, stop_process

    async with open_standard_streams() as (receive, send):
        async with open_shared(context.host, config, context.name) as shared:
            connection = StdioConnection(shared, config, receive, send)

            async def serve() -> None:
                await connection.serve()
                if config.stop_at_end:
                    stop_process()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                try:
                    yield StdioEdge()
                finally:
                    await connection.finish()
                    nursery.cancel_scope.cancel()


def _claims(config: StdioSettings) -> tuple[str, ...]:
    del config
    return ("standard input and output",)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "edge",
            "mcp_stdio",
            StdioSettings,
            open_mcp_stdio,
            stability="stable",
            claims=_claims,
            private=True,
            mentions=mentions,
        )
    )
