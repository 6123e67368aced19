"""A plugin of one file: an agent type that counts how often it was asked.

[plugins]
files = ["one_file_plugin.py"]

[agent.counter]
type = "counter"
start = 10
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import msgspec

from flowcore import Context, Envelope, Factory, Registry, Reply, hookimpl
from flowcore.agents import Catalog, Tool
from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.errors import UnknownTarget
from flowcore.interfaces import AgentPort, PoolDefaults, Worker, WorkerSource

TOOL = {
    "name": "next",
    "description": "The next number.",
    "inputSchema": {"type": "object", "properties": {}},
}
CATALOG = Catalog(tools=(Tool(name="next", definition=msgspec.Raw(msgspec.json.encode(TOOL))),))


@attrs.frozen(kw_only=True)
class CounterConfig:
    """Counts up, one by one."""

    start: int = setting(0, validator=v.ge(0), help="the first number")


class Counter:
    """The one worker of a counter."""

    def __init__(self, start: int) -> None:
        self._number = start

    async def call(self, envelope: Envelope) -> Reply:
        """The next number, as a tool result."""
        if envelope.name != "next":
            raise UnknownTarget(f"there is no {envelope.name!r}")
        number, self._number = self._number, self._number + 1
        result = {"content": [{"type": "text", "text": str(number)}]}
        return Reply(msgspec.Raw(msgspec.json.encode(result)))

    async def ping(self) -> None:
        """It is always well."""


class CounterSource:
    """Opens the worker."""

    pool_defaults = PoolDefaults(min=1, max=1)
    heartbeat = False

    def __init__(self, config: CounterConfig) -> None:
        self._config = config

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        """A counter that begins anew."""
        port.announce(CATALOG)
        yield Counter(self._config.start)


@asynccontextmanager
async def open_counter(config: CounterConfig, context: Context) -> AsyncGenerator[WorkerSource]:
    """Called when `[agent.NAME] type = "counter"` opens; the code after a yield would be the drain."""
    yield CounterSource(config)


@hookimpl
def flow_register(registry: Registry) -> None:
    """Offer the agent type."""
    registry.add(Factory("agent", "counter", CounterConfig, open_counter))
