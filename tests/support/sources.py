"""A source of workers that do what the request's name says, and fail where a test tells them to."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import attrs
import msgspec
import trio

from flowcore.agents import Agent, AgentSettings, Catalog, Event, Watchers, open_agent
from flowcore.agents.settings import HeartbeatSettings, PoolSettings, RestartSettings
from flowcore.envelope import Envelope, Priority, Reply
from flowcore.errors import CallError, InvalidArguments, UpstreamFailure
from flowcore.interfaces import AgentPort, Balancer, PoolDefaults
from support.balancing import FirstFree
from support.members import catalog


class Crash(Exception):
    """What a worker dies of."""


@attrs.define(eq=False)
class TestWorker:
    """A worker in a task of its own; it lives until it is left or told to crash."""

    __test__ = False

    source: TestSource
    port: AgentPort
    nursery: trio.Nursery
    calls: list[Envelope] = attrs.field(factory=list)
    finished: int = 0
    cancelled: int = 0
    hung: bool = False
    pings: int = 0

    async def call(self, envelope: Envelope) -> Reply:
        """Do the first word of its name: what `_do` and `ERRORS` know, else answer at once."""
        self.calls.append(envelope)
        what, *rest = envelope.name.split()
        try:
            await self._do(what, float(rest[-1]) if rest else 0.0)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        self.finished += 1
        return Reply(msgspec.Raw(msgspec.json.encode({"by": self.port.worker})))

    async def _do(self, what: str, seconds: float) -> None:
        if what == "sleep":
            await trio.sleep(seconds)
        elif what == "forever":
            await trio.sleep_forever()
        elif what == "stubborn":
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
            await trio.lowlevel.checkpoint()
        elif what == "crash":
            await trio.sleep(seconds)
            self.crash()
            await trio.sleep_forever()
        elif what == "broken-pipe":
            self.crash()
            try:
                await trio.sleep_forever()
            finally:
                raise Crash("the pipe broke")
        elif what in ERRORS:
            raise ERRORS[what]("as the test said")

    async def ping(self) -> None:
        self.pings += 1
        if self.hung:
            await trio.sleep_forever()
        if self.source.refuse_pings:
            raise ConnectionRefusedError("nobody there")

    def crash(self) -> None:
        """Die, as a process or connection would: now, whatever it is doing."""
        self.nursery.start_soon(_die)


async def _die() -> None:
    raise Crash("the worker died")


ERRORS: dict[str, type[Exception]] = {
    "invalid": InvalidArguments,
    "broken": UpstreamFailure,
    "bug": ZeroDivisionError,
}


@attrs.define(eq=False, kw_only=True)
class TestSource:
    """Makes workers; what goes wrong, and how long it takes, is set from outside."""

    __test__ = False

    pool_defaults: PoolDefaults = PoolDefaults(min=1, max=3)
    heartbeat: bool = False
    catalog: Catalog = attrs.field(factory=lambda: catalog("echo"))
    start_time: float = 0.0
    close_time: float = 0.0
    close_shielded: bool = False
    failing_starts: int = 0
    """So many of the next workers fail to start."""
    failing_opens: int = 0
    """So many of the next times the source itself cannot be opened."""
    open_time: float = 0.0
    refuse_pings: bool = False
    workers: list[TestWorker] = attrs.field(factory=list)
    alive: set[str] = attrs.field(factory=set)
    most_alive: int = 0
    started: int = 0
    opened: int = 0
    closed: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestSource]:
        """Open the source itself, as an agent plugin's factory does."""
        await trio.sleep(self.open_time)
        if self.failing_opens:
            self.failing_opens -= 1
            raise Crash("the source cannot be opened")
        self.opened += 1
        try:
            yield self
        finally:
            self.closed += 1

    @asynccontextmanager
    async def open_worker(self, port: AgentPort) -> AsyncGenerator[TestWorker]:
        self.started += 1
        port.stderr(f"worker {self.started} starts")
        await trio.sleep(self.start_time)
        if self.failing_starts:
            self.failing_starts -= 1
            port.stderr("it does not work")
            raise Crash("the worker cannot start")
        port.announce(self.catalog)
        self.alive.add(port.worker)
        self.most_alive = max(self.most_alive, len(self.alive))
        try:
            async with trio.open_nursery() as nursery:
                worker = TestWorker(self, port, nursery)
                self.workers.append(worker)
                yield worker
                nursery.cancel_scope.cancel()
        finally:
            self.alive.discard(port.worker)
            with trio.CancelScope(shield=self.close_shielded):
                await trio.sleep(self.close_time)

    @property
    def last(self) -> TestWorker:
        return self.workers[-1]


def settings(
    *,
    pool: dict[str, Any] | None = None,
    restart: dict[str, Any] | None = None,
    heartbeat: dict[str, Any] | None = None,
    **others: Any,
) -> AgentSettings:
    """Settings with these parts, the rest as shipped."""
    return AgentSettings(
        pool=PoolSettings(**(pool or {})),
        restart=RestartSettings(**(restart or {})),
        heartbeat=HeartbeatSettings(**(heartbeat or {})),
        **others,
    )


def envelope(
    what: str = "echo",
    *,
    deadline: float = 30.0,
    priority: Priority = Priority.NORMAL,
    affinity: bytes | None = None,
) -> Envelope:
    """A request to do `what`, `deadline` seconds from now."""
    return Envelope(
        agent="a",
        name=what,
        params={},
        deadline=trio.current_time() + deadline,
        priority=priority,
        affinity=affinity,
    )


@attrs.define
class Watch:
    """What an agent told of itself."""

    events: list[Event] = attrs.field(factory=list)
    changes: int = 0

    @property
    def watchers(self) -> Watchers:
        """Watchers who write every event down."""
        watchers = Watchers()
        watchers.call(self.events.append)
        return watchers

    def changed(self, agent: Agent) -> None:
        del agent
        self.changes += 1


def agent(
    source: TestSource,
    settings_: AgentSettings | None = None,
    *,
    watch: Watch | None = None,
    balancer: Balancer | None = None,
    open_source: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
) -> AbstractAsyncContextManager[Agent]:
    """An agent `a` over the source."""
    watch = watch or Watch()
    return open_agent(
        "a",
        settings_ or AgentSettings(),
        open_source or source.open,
        lambda: nullcontext(balancer or FirstFree()),
        chance=random.Random(5),
        watchers=watch.watchers,
        changed=watch.changed,
    )


async def outcome(agent: Agent, request: Envelope) -> str | CallError:
    """What comes of a call: the name of the worker that answered, or the error."""
    try:
        reply = await agent.call(request)
    except CallError as error:
        return error
    by: str = msgspec.json.decode(reply.result)["by"]
    return by
