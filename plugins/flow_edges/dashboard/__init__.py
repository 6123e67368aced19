"""The `dashboard` edge: what a node does, live, as pages for a browser; and, for those who may, its levers.

| request | answer |
|---|---|
| `GET /`, `/app.js`, ... | the pages: files of this package, open to everybody, for they know nothing |
| `GET /session` | who asks, what they may do, and how many watch |
| `GET /live` | server-sent events: what is true now, then what changes |
| `/api/...` | all that the `api` edge answers, for pages of this edge |

The pages load nothing from elsewhere, and run under a content security policy that forbids it. Who asks is
settled by the same `auth` as at the api edge, by the Authorization header alone: there are no cookies, so no
other page can act in somebody's name. Besides, all but the pages wants the header `x-flow-dashboard`, which
other pages cannot send, and this edge's own Origin and Host.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

from flow_edges.api import Api
from flow_edges.dashboard.hub import Hub, open_hub
from flow_edges.dashboard.service import Dashboard
from flow_edges.dashboard.settings import DashboardConfig
from flow_edges.dashboard.shelf import read_pages
from flow_edges.dashboard.topics import topics_of
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Certificates, Server, measure_server, open_http_server
from flowcore.interfaces import Edge
from flowcore.telemetry import Reading, counter, gauge

WATCHING = gauge("flowcore.dashboard.streams", "{stream}", "Browsers that watch now.", "edge")
SERVED = counter("flowcore.dashboard.served", "{stream}", "Browsers that began to watch.", "edge")
DROPPED = counter(
    "flowcore.dashboard.dropped", "{stream}", "Browsers let go because they did not read.", "edge"
)
REFUSED = counter(
    "flowcore.dashboard.refused", "{stream}", "Browsers refused because too many watched.", "edge"
)


@attrs.frozen
class DashboardEdge:
    """What the edge yields."""

    endpoints: tuple[str, ...]
    _server: Server
    _hub: Hub

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield from measure_server(self._server.statistics(), name)
        statistics = self._hub.statistics
        yield WATCHING.of(statistics.open, name)
        yield SERVED.of(statistics.served, name)
        yield DROPPED.of(statistics.dropped, name)
        yield REFUSED.of(statistics.refused, name)


@asynccontextmanager
async def open_dashboard(config: DashboardConfig, context: Context) -> AsyncGenerator[Edge]:
    """Listen, and show the node to those who look."""
    edge = context.name.removeprefix("edge.")
    pages = await trio.to_thread.run_sync(read_pages)
    api = Api(context.host, config, context.access, edge)
    tls = None if config.tls is None else Certificates(config.tls, context.config_dir)
    admits = None if tls is None else context.access.admitting(tls.admits)
    topics, heed = topics_of(context.host, config)
    async with open_hub(topics, queue=config.queue) as hub:
        dashboard = Dashboard(context.host, config, context.access, api, hub, pages, edge)
        async with open_http_server(
            dashboard.handle, config.bind, limits=config.limits, context=tls, admits=admits
        ) as server:
            api.door.resource.port = server.addresses[0].port
            scheme = "https" if server.secure else "http"
            forget = context.host.watch(heed, activity=False)
            try:
                urls = tuple(f"{scheme}://{address}/" for address in server.addresses)
                yield DashboardEdge(urls, server, hub)
            finally:
                forget()
                hub.close()
            await server.drain(config.drain)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "edge",
            "dashboard",
            DashboardConfig,
            open_dashboard,
            stability="beta",
            claims=lambda config: config.bind.claims(),
            exposed=lambda config: config.bind.host,
        )
    )
