"""The `http` agent: an HTTP service whose requests are tools.

    [agent.weather]
    type = "http"
    url = "https://weather.example/v1"
    headers = { authorization = { env = "WEATHER_AUTHORIZATION" } }
    health_url = "https://weather.example/health"

    [agent.weather.tools.forecast]
    description = "The forecast of a city"
    path = "/cities/{city}/forecast"
    query = { days = "{days}", units = "metric" }

    [agent.weather.tools.forecast.input]
    type = "object"
    required = ["city"]
    properties = { city = { type = "string" }, days = { type = "integer" } }

A `{name}` in a template (path, query, body, a tool's headers) is an argument; `{{` is a brace. What an
argument holds is always one value: percent-encoded in path and query, JSON in a body. A JSON answer is
structured content with its text; text, images and audio are content of their kind; anything else is a
resource.

An answer of 400 to 499 is an error result with status and the beginning of its body, for the caller to
mend. 429 is Overloaded, 503 AgentUnavailable, other 500s UpstreamFailure; no connection is AgentUnavailable;
a connection that ends without an answer is OutcomeUnknown. Only what never began, or is `read_only` or
`idempotent`, is tried again. Redirects are not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from flow_agents.http.tools import HEADERS, CompiledTool, HttpTool, compile_tool
from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import ClientCertificates, ClientTlsSettings
from flowcore.interfaces import AgentPort, PoolDefaults, Worker, WorkerSource

if TYPE_CHECKING:
    from flowcore.agents import Catalog


def _check_url(url: str) -> bool:
    from flowcore.http import split_url

    split_url(url)
    return "?" not in url and "#" not in url


def _check_tools(tools: dict[str, HttpTool]) -> bool:
    for name in tools:
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected the name of a tool (letters, digits, _ . -), not {name!r}")
    return bool(tools)


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_URL = v.Check(_check_url, "an http or https URL without a query")


@attrs.frozen(kw_only=True)
class HttpConfig:
    """An HTTP service whose requests are tools."""

    url: str = setting(validator=_URL, help="where it is; the tools' paths are appended")
    headers: dict[str, str | Secret] = setting(
        factory=dict, validator=HEADERS, help="headers of every request"
    )
    tools: dict[str, HttpTool] = setting(
        validator=v.Check(_check_tools, "at least one tool"), help="the requests, by name"
    )
    health_url: str | None = setting(
        None,
        validator=_URL,
        help="asked at the start and every heartbeat; any answer below 400 is well; unset: not asked",
    )
    tls: ClientTlsSettings | None = setting(
        None, help="TLS 1.3 towards an https `url`; unset: believed are the system's CAs"
    )
    max_response: Size = setting(
        16 << 20, validator=v.ge(1024), help="most bytes of an answer's body"
    )
    connect_timeout: Duration = setting(
        5.0, validator=v.gt(0), help="time for a connection, TLS included"
    )

    def __attrs_post_init__(self) -> None:
        if self.tls is not None and not self.url.lower().startswith("https:"):
            raise ValueError("expected `tls` only beside an https `url`")


class HttpSource:
    """Makes the one worker that all calls share."""

    pool_defaults = PoolDefaults(min=1, max=1, concurrency=100)

    def __init__(self, config: HttpConfig, tls: ClientCertificates | None = None) -> None:
        self._config = config
        self._tls = tls
        self._tools = {name: compile_tool(name, tool) for name, tool in config.tools.items()}

    @property
    def heartbeat(self) -> bool:
        """Whether there is something to ask."""
        return self._config.health_url is not None

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        """Ask the health URL, and announce the tools."""
        from flow_agents.http.worker import HttpWorker
        from flowcore.http import open_client

        config = self._config
        async with open_client(
            connect_timeout=config.connect_timeout,
            context=self._tls,
            server_name=None if self._tls is None else self._tls.server_name,
        ) as client:
            worker = HttpWorker(
                port.agent,
                client,
                config.url.rstrip("/"),
                self._tools,
                {
                    name: wire_headers(config.headers, tool.fixed)
                    for name, tool in self._tools.items()
                },
                max_response=config.max_response,
                health=self._health(),
            )
            await worker.ping()
            port.announce(_catalog(self._tools))
            yield worker

    def _health(self) -> tuple[str, tuple[tuple[bytes, bytes], ...]] | None:
        from flowcore.http import split_url

        config = self._config
        if config.health_url is None:
            return None
        # what is secret for one server is not another's to know
        same = split_url(config.health_url)[0] == split_url(config.url)[0]
        return config.health_url, wire_headers(config.headers if same else {})


def wire_headers(*layers: Mapping[str, str | Secret]) -> tuple[tuple[bytes, bytes], ...]:
    """Headers as bytes, secrets revealed; of two layers' values for one name, the later holds."""
    headers = {"accept": "application/json, */*;q=0.5", "user-agent": "flowcore"}
    for layer in layers:
        for name, value in layer.items():
            headers[name.lower()] = value.reveal() if isinstance(value, Secret) else value
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


def _catalog(tools: Mapping[str, CompiledTool]) -> Catalog:
    from msgspec import Raw

    from flowcore.agents import Catalog, Tool

    return Catalog(
        tools=tuple(
            Tool(
                name=tool.name,
                definition=Raw(tool.definition()),
                input_schema=Raw(json.dumps(tool.schema).encode()),
                read_only=tool.read_only,
                idempotent=tool.idempotent,
            )
            for tool in tools.values()
        )
    )


@asynccontextmanager
async def open_http_agent(config: HttpConfig, context: Context) -> AsyncGenerator[WorkerSource]:
    """The maker of the agent's worker."""
    tls = None if config.tls is None else ClientCertificates(config.tls, context.config_dir)
    yield HttpSource(config, tls)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("agent", "http", HttpConfig, open_http_agent, stability="beta"))
