"""An agent whose first calls find nobody there, as a plugin of one file; it tells what it passed on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import msgspec
from msgspec import Raw

from flowcore.agents import Traced
from flowcore.config import setting
from flowcore.envelope import Envelope, Reply
from flowcore.errors import AgentUnavailable
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import AgentPort, PoolDefaults, Worker, WorkerSource
from flowcore.mcp import passed_on
from flowcore.telemetry import SpanKind
from support.members import catalog


@attrs.frozen(kw_only=True)
class FalteringConfig:
    """How it fails."""

    fails: int = setting(1, help="how many of its calls fail before one does not")


@attrs.define(eq=False)
class Faltering:
    """The only worker, and its source."""

    fails: int
    passed: list[str] = attrs.field(factory=list)
    """The inside of `_meta`, of each attempt."""
    traced: Traced = Traced(SpanKind.CLIENT, beside=True)
    pool_defaults: PoolDefaults = PoolDefaults(min=1, max=1)
    heartbeat: bool = False

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[Worker]:
        """It is there at once."""
        port.announce(catalog("echo"))
        yield self

    async def call(self, envelope: Envelope) -> Reply:
        """Answer, or say that nobody is there."""
        self.passed.append(passed_on(envelope.meta, envelope.context).decode())
        if len(self.passed) <= self.fails:
            raise AgentUnavailable("nobody is there", retry_after=0.001)
        result = {"content": [], "structuredContent": {"passed": self.passed}}
        return Reply(Raw(msgspec.json.encode(result)))

    async def ping(self) -> None:
        """Always well."""


@asynccontextmanager
async def open_faltering(config: FalteringConfig, context: Context) -> AsyncGenerator[WorkerSource]:
    """Its source."""
    del context
    yield Faltering(config.fails)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("agent", "faltering", FalteringConfig, open_faltering))
