"""What holds for every type of agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio
from msgspec import Raw

from flowcore.agents import Catalog, State
from flowcore.envelope import Envelope, Principal, Reply, tool_params
from flowcore.errors import CallError
from flowcore.interfaces import PoolDefaults, Worker
from flowcore.testing.bench import NAME, Bench
from flowcore.testing.findings import Wrong

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.define(eq=False)
class _Port:
    """Hears what a worker says of itself."""

    agent: str = NAME
    worker: str = f"{NAME}/1"
    catalog: Catalog | None = None

    def announce(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        del audience
        if not method.startswith("notifications/"):
            raise Wrong(f"it notifies of {method!r}; methods are notifications/...")
        _object(params, f"the params of {method}")

    def stderr(self, line: str) -> None:
        del line

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        del what, retire
        return lambda: None

    def late(self) -> None:
        return


def _object(raw: Raw, what: str) -> dict[str, Any]:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Wrong(f"{what}: no JSON object: {error}") from None


@asynccontextmanager
async def _worker(bench: Bench) -> AsyncGenerator[tuple[Worker, Catalog]]:
    async with bench.opened() as source:
        port = _Port()
        async with source.open_worker(port) as worker:
            if port.catalog is None:
                raise Wrong("a worker is ready before it has announced what is on offer")
            yield worker, port.catalog


def _call(tool: str, arguments: Mapping[str, Any]) -> Envelope:
    params = tool_params(tool, arguments)
    deadline = trio.current_time() + 3600
    return Envelope(agent=NAME, name=tool, params=params, deadline=deadline)


async def says_how_it_is_pooled(bench: Bench) -> None:
    """its source says how many workers there should be, and whether they must be pinged"""
    async with bench.opened() as source:
        pool: object = source.pool_defaults
        if not isinstance(pool, PoolDefaults) or not 0 <= pool.min <= pool.max or pool.max < 1:
            raise Wrong(f"pool_defaults is {pool!r:.100}")
        if not isinstance(source.heartbeat, bool):
            raise Wrong(f"heartbeat is {source.heartbeat!r:.100}, neither True nor False")


async def announces_what_it_has(bench: Bench) -> None:
    """a worker that is ready has announced a catalog whose entries are what clients can read"""
    async with _worker(bench) as (worker, catalog):
        names = [tool.name for tool in catalog.tools]
        if len(set(names)) < len(names):
            raise Wrong(f"tools have the same name: {names!r:.200}")
        for tool in catalog.tools:
            defined = _object(tool.definition, f"tool {tool.name!r}")
            if defined.get("name") != tool.name:
                raise Wrong(f"tool {tool.name!r} is defined as {defined.get('name')!r}")
            if not isinstance(defined.get("inputSchema"), dict):
                raise Wrong(f"tool {tool.name!r} has no inputSchema, which MCP asks for")
        others = [one.definition for one in catalog.resources]
        others += [one.definition for one in catalog.templates]
        others += [one.definition for one in catalog.prompts]
        for definition in others:
            _object(definition, "a resource, template or prompt")
        await worker.ping()


async def answers_calls(bench: Bench) -> None:
    """the calls of its Trial are answered by results that are JSON objects"""
    async with _worker(bench) as (worker, _):
        for tool, arguments in bench.trial.calls.items():
            reply: object = await worker.call(_call(tool, arguments))
            if not isinstance(reply, Reply):
                raise Wrong(f"{tool} gives {reply!r:.100}, no Reply")
            _object(reply.result, f"the result of {tool}")


async def refuses_what_it_has_not(bench: Bench) -> None:
    """what it does not have is refused by a CallError or an error result, and does it no harm"""
    async with _worker(bench) as (worker, _):
        try:
            reply = await worker.call(_call("no such tool of any agent", {}))
        except CallError:
            pass
        else:
            if _object(reply.result, "the result").get("isError") is not True:
                raise Wrong("calling a tool that there is not is a success")
        await worker.ping()


async def lets_go_of_cancelled_calls(bench: Bench) -> None:
    """a call that is cancelled returns at once, and the worker is well afterwards"""
    async with _worker(bench) as (worker, _):
        for tool, arguments in bench.trial.calls.items():
            with trio.CancelScope() as scope:
                scope.cancel()
                await worker.call(_call(tool, arguments))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.call, _call(tool, arguments))
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        await worker.ping()
        for tool, arguments in bench.trial.calls.items():
            await worker.call(_call(tool, arguments))


async def lives_in_a_flow(bench: Bench) -> None:
    """in a flow it comes up, answers, is started anew, and ends with the flow"""
    async with bench.flow(pool={"min": 1}) as flow:
        agent = flow.agent(NAME)
        if not agent.state.available:
            raise Wrong(f"it is {agent.state.value}: {agent.reason}")
        for tool, arguments in bench.trial.calls.items():
            await flow.call(f"{NAME}.{tool}", arguments)
        agent.restart()
        await agent.wait_until(State.STARTING, State.DRAINING, State.FAILED)
        if await agent.wait_until(State.IDLE, State.BUSY, State.FAILED) is State.FAILED:
            raise Wrong(f"it does not come up again: {agent.reason}")
        for tool, arguments in bench.trial.calls.items():
            await flow.call(f"{NAME}.{tool}", arguments)
