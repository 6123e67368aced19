"""The `api` edge: health for machines, and what flowctl needs, as JSON over HTTP.

| request | answer |
|---|---|
| `GET /livez` | 200 while the process runs its event loop |
| `GET /readyz` | 200 when new work is welcome, 503 when not, with the components that are not well |
| `GET /livez/COMPONENT`, `/readyz/COMPONENT` | the same of one, such as `edge.mcp`: 200, 503, or 404 |
| `GET /status` | everything that is true of the node now |
| `GET /agents`, `GET /agents/NAME` | agents with pools and figures |
| `POST /agents/NAME/pause`, `.../resume`, `.../restart` | steer an agent |
| `GET /guards` | guards with what they let through and refused |
| `POST /guards/NAME/ACTION` | have a guard do something, such as `open` a breaker: `{"agent": ..}` |
| `POST /memory/export`, `.../import`, `.../reembed` | a page of patterns out, `{"namespace": .., \
"cursor": .., "vectors": false}`; patterns in, `{"patterns": [..]}`; embed anew what another embedder did, \
for some seconds: again until it says `complete` |
| `POST /memory/retrain` | have gates trained anew on the lessons that are kept: `{}` |
| `POST /memory/map` | the latest patterns of a namespace as points: `{"namespace": .., "most": 1000, \
"text": ..}` |
| `GET /state` | the hard state: engine, term, leader, members, how far each is, log, snapshot, fsync |
| `POST /members/add`, `.../remove`, `.../promote` | change who decides: `{"nodes": [..]}` |
| `POST /log` | entries of this node's log, readable: `{"first": .., "most": 20}` |
| `POST /snapshot` | the whole state as a file |
| `GET /nodes` | whether the other nodes go by the same time, and embed and find alike |
| `GET /tasks` | tasks and requests under way, and those that ended lately |
| `GET /traces`, `GET /traces/ID` | traces that ended lately; the spans of one, by its id or a request's |
| `GET /events` | what happens, as server-sent events; with `?activity=1` also each call |
| `GET /logs` | the levels of loggers |
| `POST /logs/level` | have a logger tell more, or less: `{"logger": .., "level": "debug"}` |
| `GET /revocations` | credentials and principals that no node lets in any more |
| `POST /revocations/add` | revoke one: `{"scheme": "idp", "what": "jti", "id": .., "seconds": ..}` |
| `POST /revocations/remove` | take that back: `{"scheme": "idp", "what": "jti", "id": ..}` |
| `POST /drain` | take no new work, finish what there is, and end, as by a TERM |
| `GET /tools` | the public names of all tools |
| `GET /metrics`, or whatever path an exporter has | what it has to be fetched |
| `POST /call` | call a tool: `{"tool": .., "arguments": {..}, "deadline": SECONDS, "idempotencyKey": .., \
"priority": "low", "affinity": ..}`, all but the tool optional |

It listens on loopback only, unless `auth` says who may come in; then all but the first two ask who it is. The
guards of the edge are asked about the actions `status`, `tasks`, `revocations`, `revocations.add` (or
`remove`), `agents` and `agents.pause` (or `resume`, `restart`), whose target is the agent, `memory.export`
(or `import`, `reembed`, `retrain`, `map`), `drain`, `state`, `nodes`, `traces`, whose target is the id,
`events`, `logs`, `logs.level`, `metrics`, whose target is the path, `members.add` (or `remove`, `promote`),
`log`, `snapshot`, `guards` and `guards.ACTION`, whose target is the guard; calls pass them as any request
does. A browser's page cannot use it: a request with an Origin header, or for another host than the one it
listens on, is refused.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import attrs

from flow_edges.api.answers import problem
from flow_edges.api.paths import PAGES, ROUTES
from flow_edges.api.service import Api
from flow_edges.api.settings import ApiConfig
from flow_edges.api.work import request_line
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import Certificates, Server, measure_server, open_http_server
from flowcore.interfaces import Edge
from flowcore.telemetry import Reading


@attrs.frozen
class ApiEdge:
    """What the edge yields."""

    endpoints: tuple[str, ...]
    _server: Server

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        return measure_server(self._server.statistics(), name)


@asynccontextmanager
async def open_api(config: ApiConfig, context: Context) -> AsyncGenerator[Edge]:
    """Listen, and answer about the flow."""
    api = Api(context.host, config, context.access, context.name.removeprefix("edge."))
    tls = None if config.tls is None else Certificates(config.tls, context.config_dir)
    admits = None if tls is None else context.access.admitting(tls.admits)
    async with open_http_server(
        api.handle, config.bind, limits=config.limits, context=tls, admits=admits
    ) as server:
        api.door.resource.port = server.addresses[0].port
        scheme = "https" if server.secure else "http"
        yield ApiEdge(tuple(f"{scheme}://{address}" for address in server.addresses), server)
        await server.drain(config.drain)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "edge",
            "api",
            ApiConfig,
            open_api,
            stability="beta",
            claims=lambda config: config.bind.claims(),
            reserved=lambda config: PAGES,
            exposed=lambda config: config.bind.host,
        )
    )


__all__ = ["ROUTES", "Api", "ApiConfig", "problem", "request_line"]
