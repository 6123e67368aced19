"""The maker of connections to one upstream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from flow_agents.mcp.bridge import Bridge, Eras, open_bridge
from flow_agents.mcp.calls import Calls
from flow_agents.mcp.settings import PORT, McpSettings
from flow_agents.mcp.started import free_port, open_started
from flow_agents.mcp.stdio import open_stdio
from flow_agents.mcp.streamable import open_streamable
from flow_agents.mcp.wire import Wire
from flow_agents.mcp.worker import Memory, Upstream, open_upstream
from flowcore.config import Secret
from flowcore.hookspecs import Context
from flowcore.http import Client, ClientCertificates, open_client, split_url
from flowcore.interfaces import AgentPort, PoolDefaults
from flowcore.mcp import Era
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
        self._eras = Eras()

    def open_worker(self, port: AgentPort) -> AbstractAsyncContextManager[Bridge]:
        """Start or reach the upstream, and agree with it upon a version."""
        settings = self._settings
        if settings.url is not None and PORT in settings.url:
            origin, _ = split_url(settings.url.replace(PORT, "1"))
            settings = settings.on_port(free_port(origin.host))
        questions = settings.questions if settings.protocol == "auto" else ()
        first = self._open(settings, port, self._memory, aside=False)
        second = partial(self._second, settings, port)
        return open_bridge(first, second, self._eras, questions, port)

    def _second(
        self, settings: McpSettings, port: AgentPort
    ) -> AbstractAsyncContextManager[Upstream]:
        """Another connection, that shakes hands."""
        return self._open(settings, port, Memory(era=Era.HANDSHAKE), aside=True)

    def _open(
        self, settings: McpSettings, port: AgentPort, memory: Memory, *, aside: bool
    ) -> AbstractAsyncContextManager[Upstream]:
        calls = Calls(linger=settings.linger, late=port.late)
        wire = self._wire(settings, port, calls, start=not aside)
        return open_upstream(settings, port, memory, calls, wire, aside=aside)

    def _wire(
        self, settings: McpSettings, port: AgentPort, calls: Calls, *, start: bool
    ) -> AbstractAsyncContextManager[Wire]:
        """The way to the upstream; `start` is False where the server at the URL runs already."""
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
        if self._launcher is None or not start:
            return reached
        return open_started(self._launcher, settings, port.stderr, reached)


@asynccontextmanager
async def open_source(settings: McpSettings, context: Context) -> AsyncGenerator[McpSource]:
    """The source of one agent. Its processes are the flow's launcher's; its connections share one client."""
    if settings.url is None:
        yield McpSource(settings, await context.launcher(), None)
        return
    tls = None if settings.tls is None else ClientCertificates(settings.tls, context.config_dir)
    async with open_client(
        context=tls,
        server_name=None if tls is None else tls.server_name,
        connect_timeout=settings.connect_timeout,
        body=settings.message,
        most_idle=2 * _CONCURRENCY,
        idle_timeout=_IDLE,
    ) as client:
        launcher = await context.launcher() if settings.command else None
        yield McpSource(settings, launcher, client)
