"""A connection to an upstream as the core would open it, and what was told to the core meanwhile."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_agents.mcp.bridge import Bridge
from flow_agents.mcp.settings import McpSettings
from flow_agents.mcp.source import McpSource, open_source
from flowcore.agents import EMPTY, Catalog
from flowcore.envelope import DEAF, Envelope, Peer, Principal, Reply
from flowcore.errors import UnknownMethod
from flowcore.hookspecs import Context
from flowcore.processes import Launcher, open_launcher

UPSTREAMS = pathlib.Path(__file__).parent / "upstreams"


class RecordingPort:
    """What a worker is given by the core; it keeps what it is told."""

    def __init__(self, agent: str = "up") -> None:
        self.agent = agent
        self.worker = f"{agent}/1"
        self.catalogs: list[Catalog] = []
        self.notifications: list[tuple[str, dict[str, Any]]] = []
        self.audiences: list[Principal | None] = []
        self.lines: list[str] = []
        self.came_late = 0
        self._news = trio.Event()

    @property
    def catalog(self) -> Catalog:
        return self.catalogs[-1] if self.catalogs else EMPTY

    def announce(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)
        self._wake()

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        self.audiences.append(audience)
        self.notifications.append((method, json.loads(bytes(params))))
        self._wake()

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        raise AssertionError(what)

    def late(self) -> None:
        self.came_late += 1

    def stderr(self, line: str) -> None:
        self.lines.append(line)
        self._wake()

    def _wake(self) -> None:
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something told has made the condition true."""
        while not condition():
            self._news = trio.Event()
            await self._news.wait()


class RecordingPeer:
    """A client that answers questions in a given way, and keeps what it is told and asked."""

    def __init__(self, capabilities: dict[str, Any] | None = None, answer: Any = None) -> None:
        self.capabilities = {
            name: Raw(msgspec.json.encode(value)) for name, value in (capabilities or {}).items()
        }
        self.answer = answer
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.cancelled = 0
        self._news = trio.Event()

    def notify(self, method: str, params: Raw) -> None:
        self.told.append((method, json.loads(bytes(params))))
        self._news.set()

    async def request(self, method: str, params: Raw) -> Raw:
        self.asked.append((method, json.loads(bytes(params))))
        self._news.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            if not self.capabilities:
                raise UnknownMethod("cannot be asked")
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled += 1
                self._news.set()
        return Raw(msgspec.json.encode(self.answer))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news = trio.Event()
            await self._news.wait()


def envelope(
    method: str,
    name: str,
    params: dict[str, Any],
    *,
    meta: dict[str, Any] | None = None,
    peer: Peer = DEAF,
    principal: str = "somebody",
) -> Envelope:
    return Envelope(
        method=method,
        agent="up",
        name=name,
        params={key: Raw(msgspec.json.encode(value)) for key, value in params.items()},
        meta={key: Raw(msgspec.json.encode(value)) for key, value in (meta or {}).items()},
        principal=Principal(name=principal),
        deadline=math.inf,
        peer=peer,
    )


def tool(
    tool_name: str,
    *,
    meta: dict[str, Any] | None = None,
    peer: Peer = DEAF,
    principal: str = "somebody",
    more: dict[str, Any] | None = None,
    **arguments: Any,
) -> Envelope:
    """The envelope of a tool call."""
    params = {"name": tool_name, "arguments": arguments, **(more or {})}
    return envelope("tools/call", tool_name, params, meta=meta, peer=peer, principal=principal)


def value(reply: Reply) -> Any:
    return json.loads(bytes(reply.result))


def text(reply: Reply) -> str:
    """The text of a tool's result."""
    content: str = value(reply)["content"][0]["text"]
    return content


@attrs.frozen
class Opened:
    """A worker, the port it speaks to, and the source it came from."""

    worker: Bridge
    port: RecordingPort
    source: McpSource

    async def call(self, tool_name: str, **arguments: Any) -> Reply:
        return await self.worker.call(tool(tool_name, **arguments))


@attrs.frozen
class UpstreamContext:
    """What an agent's plugin may use of the flow: here, a launcher of its own."""

    opened: Launcher

    async def launcher(self) -> Launcher:
        return self.opened


@asynccontextmanager
async def open_mcp_source(**settings: Any) -> AsyncGenerator[McpSource]:
    async with open_launcher() as launcher:
        context = cast("Context", UpstreamContext(launcher))
        async with open_source(McpSettings(**settings), context) as source:
            yield source


@asynccontextmanager
async def opened(port: RecordingPort | None = None, **settings: Any) -> AsyncGenerator[Opened]:
    """A ready worker of an upstream with these settings."""
    port = port or RecordingPort()
    async with open_mcp_source(**settings) as source, source.open_worker(port) as worker:
        yield Opened(worker, port, source)


@attrs.frozen
class Losing(Opened):
    """A worker that is expected to be lost."""

    ended: trio.Event
    errors: list[BaseException]

    async def lost(self) -> BaseException:
        """Wait until it is lost; what its block ended with."""
        await self.ended.wait()
        return self.errors[0]


@asynccontextmanager
async def losing(**settings: Any) -> AsyncGenerator[Losing]:
    """A ready worker that may die, used as the core uses it: calls run outside of its block."""
    port = RecordingPort()
    ended, errors = trio.Event(), list[BaseException]()

    async def live(source: McpSource, *, task_status: trio.TaskStatus[Bridge]) -> None:
        try:
            async with source.open_worker(port) as worker:
                task_status.started(worker)
                await trio.sleep_forever()
        except Exception as error:
            errors.append(error)
            ended.set()

    async with open_mcp_source(**settings) as source, trio.open_nursery() as nursery:
        worker = await nursery.start(live, source)
        yield Losing(worker, port, source, ended, errors)
        nursery.cancel_scope.cancel()


async def failure(port: RecordingPort | None = None, **settings: Any) -> BaseException:
    """Why an upstream with these settings cannot be opened."""
    try:
        async with opened(port, **settings):
            raise AssertionError("it was opened")
    except AssertionError:
        raise
    except Exception as error:
        return error


def stdio_server(*options: str) -> tuple[str, ...]:
    """The command of our own test server on stdio."""
    return ("python", str(UPSTREAMS / "stdio_server.py"), *options)


def liar(lie: str) -> tuple[str, ...]:
    """The command of a server on stdio that lies."""
    return ("python", str(UPSTREAMS / "liar.py"), lie)
