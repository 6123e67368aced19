"""The maker of connections to one upstream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from flow_agents.mcp.calls import Calls
from flow_agents.mcp.settings import McpSettings
from flow_agents.mcp.started import open_started
from flow_agents.mcp.stdio import open_stdio
from flow_agents.mcp.streamable import open_streamable
from flow_agents.mcp.wire import Wire
from flow_agents.mcp.worker import Memory, Upstream, open_upstream
from flowcore.config import Secret
from flowcore.hookspecs import Context
from flowcore.http import Client, open_client
from flowcore.interfaces import AgentPort, PoolDefaults
from flowcore.processes import Launcher

_CONCURRENCY = 64
_IDLE = 4.0
"""Seconds that a connection is kept: less than the 5 after which common servers (Node, uvicorn) close it, so
that no request is sent just then."""


class McpSource:
    """One `[agent.NAME]` of type `mcp`. Made by `open_source`."""

    pool_defaults = PoolDefaults(min=1, max=1, concurrency=_CONCURRENCY)
    heartbeat = True

    def __init__(
        self, settings: McpSettings, launcher: Launcher | None, client: Client | None
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._client = client
        self._memory = Memory()

    def open_worker(self, port: AgentPort) -> AbstractAsyncContextManager[Upstream]:
        """Start or reach the upstream, and agree with it upon a version."""
        calls = Calls(linger=self._settings.linger)
        return open_upstream(self._settings, port, self._memory, calls, self._wire(port, calls))

    def _wire(self, port: AgentPort, calls: Calls) -> AbstractAsyncContextManager[Wire]:
        settings = self._settings
        if settings.url is None:
            assert self._launcher is not None
            return open_stdio(self._launcher, settings, calls, port.stderr)
        assert self._client is not None
        own = [
            (
                name.lower().encode("ascii"),
                (value.reveal() if isinstance(value, Secret) else value).encode("ascii"),
            )
            for name, value in settings.headers.items()
        ]
        reached = open_streamable(self._client, settings.url, own, settings.message)
        if self._launcher is None:
            return reached
        return open_started(self._launcher, settings, port.stderr, reached)


@asynccontextmanager
async def open_source(settings: McpSettings, context: Context) -> AsyncGenerator[McpSource]:
    """The source of one agent. Its processes are the flow's launcher's; its connections share one client."""
    if settings.url is None:
        yield McpSource(settings, await context.launcher(), None)
        return
    async with open_client(
        connect_timeout=settings.connect_timeout,
        body=settings.message,
        most_idle=2 * _CONCURRENCY,
        idle_timeout=_IDLE,
    ) as client:
        launcher = await context.launcher() if settings.command else None
        yield McpSource(settings, launcher, client)
