"""Opening a plan: every component under supervision, in dependency order, closed in reverse.

The tree: `root` (rest_for_one) over authentication schemes and guards, the requests, `agents` (one_for_one)
and `edges` (one_for_one). Whoever loses a scheme or a guard is opened anew with it, so nothing goes on
without. An agent that cannot start fails alone, in its own life; an edge that cannot open
fails the start, for then nobody could reach the node.
"""

from __future__ import annotations

import inspect
import pathlib
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from typing import Any

import attrs
import trio

from flowcore.agents import Agent, AgentSettings, open_agent
from flowcore.agents.incarnation import OpenBalancer, OpenSource
from flowcore.agents.reasons import reason_of
from flowcore.assembly import BUILTIN, Component, OpenContext, Status, lacks
from flowcore.errors import AssemblyError, PluginError
from flowcore.flow.builtin import open_builtin
from flowcore.flow.node import Flow
from flowcore.interfaces import Balancer, Edge
from flowcore.processes import SharedLauncher, open_shared_launcher
from flowcore.requests import Guard, Guards, open_requests
from flowcore.supervise import (
    Child,
    Happening,
    StartFailed,
    Strategy,
    What,
    open_supervisor,
    serve_context,
    supervisor_child,
)

AGENT_STATUS = {
    "starting": Status.STARTING,
    "idle": Status.OK,
    "busy": Status.OK,
    "paused": Status.DEGRADED,
    "draining": Status.STOPPING,
    "failed": Status.FAILED,
    "stopped": Status.STOPPED,
}


@attrs.define(eq=False)
class _Building:
    """What the components of one flow share while they open."""

    flow: Flow
    config_dir: pathlib.Path
    launcher: SharedLauncher
    handles: dict[str, Any] = attrs.field(factory=dict)

    def context(self, component: Component) -> OpenContext:
        data_dir = self.flow.config.node.data_dir
        seed = self.flow.random.getrandbits(64)
        return OpenContext(
            component,
            self.flow,
            self.flow.board,
            self.handles,
            data_dir=data_dir,
            config_dir=self.config_dir,
            chance=random.Random(seed),
            launcher=self.launcher,
            accesses=self.flow.access,
        )

    # ---- what each branch opens

    @asynccontextmanager
    async def open_requests(self) -> AsyncGenerator[Any]:
        flow = self.flow
        async with open_requests(
            flow.config.requests, flow.agents, flow.random, self._guards()
        ) as requests:
            flow.requests = requests
            yield requests

    def _guards(self) -> Guards:
        config = self.flow.config

        def named(names: Sequence[str]) -> tuple[Guard, ...]:
            return tuple(self.handles[f"guard.{name}"] for name in names)

        return Guards(
            named(config.requests.guards),
            {one.name: named(one.common.guards) for one in config.edge.values() if one.common},
            {one.name: named(one.common.guards) for one in config.agent.values() if one.common},
        )

    @asynccontextmanager
    async def open_part(self, component: Component) -> AsyncGenerator[Any]:
        """What only others use: an authentication scheme, a guard."""
        async with self._open(component) as handle:
            self.handles[component.path] = handle
            if component.kind == "guard":
                self.flow.guards[component.name] = handle
            yield handle

    @asynccontextmanager
    async def open_agent(self, component: Component) -> AsyncGenerator[Agent]:
        selection = component.selection
        settings: AgentSettings = selection.common
        source = partial(self._open, component)
        balancer = partial(self._open, self.flow.plan.find(f"{component.path}.balancer"))
        async with self._joined(component.name, settings, source, balancer) as agent:
            self.handles[component.path] = agent
            yield agent

    @asynccontextmanager
    async def open_builtin(self) -> AsyncGenerator[Agent]:
        settings = AgentSettings(description="the node itself: its agents and its status")
        source = partial(open_builtin, self.flow)
        async with self._joined(BUILTIN, settings, source, _open_first_free) as agent:
            yield agent

    @asynccontextmanager
    async def _joined(
        self, name: str, settings: AgentSettings, source: OpenSource, balancer: OpenBalancer
    ) -> AsyncGenerator[Agent]:
        flow = self.flow

        def changed(agent: Agent) -> None:
            status = AGENT_STATUS[agent.state.value]
            flow.board.set(f"agent.{name}", flow.type_of(name), status, agent.reason)
            flow.directory.changed()

        flow.board.set(f"agent.{name}", flow.type_of(name), Status.STARTING)
        async with open_agent(
            name,
            settings,
            source,
            balancer,
            chance=flow.random,
            watchers=flow.watchers,
            changed=changed,
        ) as agent:
            flow.agents[name] = agent
            flow.directory.join(agent)
            try:
                yield agent
            finally:
                flow.directory.leave(name)
                del flow.agents[name]

    @asynccontextmanager
    async def _open(self, component: Component) -> AsyncGenerator[Any]:
        """What a plugin opens, checked: its mistakes are its component's failures and no more."""
        factory = component.factory
        opening = factory.open(component.selection.config, self.context(component))
        if not isinstance(opening, AbstractAsyncContextManager):
            if inspect.iscoroutine(opening):
                opening.close()
            raise PluginError(
                f"open of {factory.kind} type {factory.type!r} gives {type(opening).__name__!r},"
                " not an async context manager; is @asynccontextmanager missing?"
            )
        try:
            async with opening as opened:
                lacking = lacks(factory.kind, opened)
                if lacking:
                    raise PluginError(
                        f"open of {factory.kind} type {factory.type!r} yields {opened!r:.100},"
                        f" which has no {', '.join(lacking)}"
                    )
                yield opened
        except SystemExit as error:
            raise PluginError(
                f"{factory.kind} type {factory.type!r} called sys.exit({error.code!r})"
            ) from error

    @asynccontextmanager
    async def open_edge(self, component: Component) -> AsyncGenerator[Edge]:
        async with self._open(component) as edge:
            self.handles[component.path] = edge
            self.flow.serve_at(component.name, edge.endpoints)
            yield edge

    # ---- the tree

    def children(self) -> list[Child]:
        flow = self.flow
        shutdown = flow.config.supervision.shutdown
        agents = [
            Child(
                name=BUILTIN,
                run=serve_context(self.open_builtin),
                shutdown=shutdown,
            ),
            *(
                Child(
                    name=one.name,
                    run=serve_context(partial(self.open_agent, one)),
                    shutdown=shutdown + one.selection.common.shutdown,
                )
                for one in flow.plan.of_kind("agent")
            ),
        ]
        edges = [
            Child(name=one.name, run=serve_context(partial(self.open_edge, one)), shutdown=shutdown)
            for one in flow.plan.of_kind("edge")
        ]
        return [
            *(
                Child(
                    name=one.path,
                    run=serve_context(partial(self.open_part, one)),
                    shutdown=shutdown,
                )
                for kind in ("auth", "guard")
                for one in flow.plan.of_kind(kind)
            ),
            Child(name="requests", run=serve_context(self.open_requests), shutdown=shutdown),
            self._branch("agents", agents),
            self._branch("edges", edges),
        ]

    def _branch(self, name: str, children: list[Child]) -> Child:
        settings = self.flow.config.supervision
        open_ = partial(
            open_supervisor,
            name,
            children,
            strategy=Strategy.ONE_FOR_ONE,
            intensity=settings.restarts,
            period=settings.period,
            watch=self.watch,
        )
        return supervisor_child(name, open_)

    def watch(self, happening: Happening) -> None:
        """Turn what supervision sees into the status of edges; agents tell their own."""
        path = f"edge.{happening.child}" if happening.supervisor == "edges" else happening.child
        parts = ("edge.", "auth.", "guard.")
        if not path.startswith(parts) or happening.what is What.GAVE_UP:
            return
        status = {
            What.STARTED: Status.OK,
            What.START_FAILED: Status.FAILED,
            What.EXITED: Status.FAILED,
            What.STOPPED: Status.STOPPED,
            What.OVERDUE: Status.STOPPING,
        }[happening.what]
        reason = "" if happening.error is None else reason_of(happening.error)
        self.flow.board.set(path, self.flow.plan.find(path).factory.type, status, reason)


class FirstFree:
    """The balancer of the built-in agent, whose workers are all alike and never wait."""

    def pick(self, candidates: Any, affinity: bytes | None, now: float) -> int:
        del candidates, affinity, now
        return 0

    def started(self, worker: int, now: float) -> None:
        del worker, now

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        del worker, now, seconds, ok

    def removed(self, worker: int) -> None:
        del worker


def _open_first_free() -> AbstractAsyncContextManager[Balancer]:
    return nullcontext(FirstFree())


@asynccontextmanager
async def open_components(flow: Flow, config_dir: pathlib.Path) -> AsyncGenerator[None]:
    """Open every component of the flow's plan; leaving the block closes them in reverse.

    Raises AssemblyError naming the component that could not open, and why.
    """
    settings = flow.config.supervision
    async with AsyncExitStack() as stack:
        launcher = await stack.enter_async_context(open_shared_launcher())
        building = _Building(flow, config_dir, launcher)
        try:
            flow.root = await stack.enter_async_context(
                open_supervisor(
                    flow.name,
                    building.children(),
                    strategy=Strategy.REST_FOR_ONE,
                    intensity=settings.restarts,
                    period=settings.period,
                    watch=building.watch,
                )
            )
        except StartFailed as error:
            raise AssemblyError(_innermost(error)) from error
        await trio.lowlevel.checkpoint()
        yield


def _innermost(error: BaseException) -> str:
    """What really went wrong: the end of a chain of failed starts."""
    chain = [error]
    while isinstance(chain[-1], StartFailed) and chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    names = [
        str(one).split("'")[1] for one in chain if isinstance(one, StartFailed) and "'" in str(one)
    ]
    path = ".".join(names).replace("edges.", "edge.").replace("agents.", "agent.")
    last = chain[-1]
    told = isinstance(last, OSError) and str(last)
    return f"{path}: {told or reason_of(last)}"
