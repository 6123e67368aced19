"""`mcp`: an upstream MCP server, started by command and spoken to over stdio, or reached by URL.

Read in this order: `settings` (what can be set), `source` (the maker of workers), `worker` (one connection),
`bridge` (two of them, one for each era), `wire` (what a transport must do) with `stdio` and `streamable`, and
`calls`, `phrasing`, `greeting`, `listing`, `hearing`, `attribution` (whose it is that is heard), `questions`,
`subscriptions`, each one side of the conversation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flow_agents.mcp.settings import McpSettings
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import WorkerSource


@asynccontextmanager
async def open_mcp(config: McpSettings, context: Context) -> AsyncGenerator[WorkerSource]:
    """The maker of connections to one upstream; nothing is started or connected yet."""
    from flow_agents.mcp.source import open_source

    async with open_source(config, context) as source:
        yield source


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "agent", "mcp", McpSettings, open_mcp, stability="stable", claims=McpSettings.claims
        )
    )
