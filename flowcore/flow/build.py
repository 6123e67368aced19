"""Opening a plan: every component under supervision, in dependency order, closed in reverse.

The tree: `root` (rest_for_one) over authentication schemes and guards, the hard state where something needs
it (storage, consensus, state), the requests, `agents` (one_for_one) and `edges` (one_for_one). Whoever loses
a scheme, a guard or the state is opened anew with it, so nothing goes on without. An agent that cannot start
fails alone, in its own life; an edge that cannot open fails the start, for then nobody could reach the node.
"""

from __future__ import annotations

import inspect
import itertools
import pathlib
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from typing import Any

import attrs
import trio

from flowcore.agents import Agent, AgentSettings, LinkChanged, State, open_agent
from flowcore.agents.incarnation import OpenBalancer, OpenSource
from flowcore.agents.reasons import reason_of
from flowcore.assembly import BUILTIN, MEMORY, Component, OpenContext, Status, lacks
from flowcore.durable import Durable, open_durable, open_single
from flowcore.errors import AssemblyError, PluginError
from flowcore.federation import Federation
from flowcore.flow.about import SERVICE as ABOUT
from flowcore.flow.about import Telling
from flowcore.flow.builtin import open_builtin, open_memory
from flowcore.flow.exporters import Exporters, open_exporters
from flowcore.flow.federating import open_federation
from flowcore.flow.node import Flow
from flowcore.interfaces import Balancer, Edge
from flowcore.processes import SharedLauncher, open_shared_launcher
from flowcore.requests import Guard, Guards, open_requests
from flowcore.routing import Router, open_router
from flowcore.state import STATE_FILE, open_state
from flowcore.state import State as HardState
from flowcore.supervise import (
    Child,
    Happening,
    StartFailed,
    Strategy,
    Supervisor,
    What,
    open_supervisor,
    serve_context,
    supervisor_child,
)
from flowcore.swarm import Swarm
from flowcore.telemetry import Measured

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
    _children: dict[str, str] = attrs.field(factory=dict)
    """The supervised child that each agent is now, by the agent's name."""
    _candidates: set[str] = attrs.field(factory=set)
    """Children that are to take an agent's place, and have not yet."""
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(2))

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
    async def open_state(self) -> AsyncGenerator[HardState]:
        """The hard state, over the consensus that the plan has."""
        flow = self.flow
        consensus = self.handles["consensus"]
        path = flow.config.node.data_dir / STATE_FILE
        async with open_state(consensus, path, flow.config.state, clock=flow.wall) as state:
            flow.keep_in(state)
            try:
                yield state
            finally:
                flow.keep_in(None)

    @asynccontextmanager
    async def open_exporters(self) -> AsyncGenerator[Exporters]:
        """Who takes away what the node tells of itself. The first to open, so that nothing is missed."""
        flow = self.flow
        components = flow.plan.of_kind("exporter")
        async with open_exporters(
            components, flow.telemetry, flow.board, self._open, flow.metrics.snapshot
        ) as exporters:
            yield exporters

    @asynccontextmanager
    async def open_swarm(self) -> AsyncGenerator[Swarm]:
        """The other nodes, over the topology and membership that the plan has."""
        flow, settings = self.flow, self.flow.config.swarm
        assert settings is not None
        from flowcore.swarm.opening import (
            open_swarm,  # what links stand on is imported where there are any
        )

        data_dir = flow.config.node.data_dir / "swarm"
        data_dir.mkdir(parents=True, exist_ok=True)
        async with open_swarm(
            settings,
            name=flow.name,
            config_dir=self.config_dir,
            data_dir=data_dir,
            topology=self.handles["swarm.topology"],
            membership=self.handles["swarm.membership"],
            chance=random.Random(flow.random.getrandbits(64)),
            audit=self._link_told,
            weather=flow.weather,
            wall=flow.wall,
        ) as swarm:
            flow.link_by(swarm)
            try:
                yield swarm
            finally:
                flow.link_by(None)

    def _link_told(self, what: str, details: Mapping[str, Any]) -> None:
        """What happens to links, for whoever audits."""
        self.flow.emit(LinkChanged(what, dict(details)))

    @asynccontextmanager
    async def open_federation(self) -> AsyncGenerator[Federation]:
        """The agents of the other nodes, and this node's for them."""
        settings = self.flow.config.swarm
        assert settings is not None
        flow = self.flow
        telling = flow.swarm.overlay.serve(ABOUT, Telling(flow).serve)
        async with open_federation(flow, flow.swarm, settings.federation) as federation, telling:
            yield federation

    @asynccontextmanager
    async def open_durable(self) -> AsyncGenerator[Durable]:
        """What requests leave beyond this node's life: tasks, keys, revocations."""
        flow = self.flow
        async with open_durable(
            flow.state,
            flow.requests,
            holder=flow.holder,
            doers=flow.roster.doers,
            swarm=flow.swarm if flow.linked else None,
            revoked=flow.revoked,
            draining=flow.draining.is_set,
            chance=random.Random(flow.random.getrandbits(64)),
        ) as durable:
            flow.outlive_in(durable)
            try:
                yield durable
            finally:
                flow.outlive_in(None)

    @asynccontextmanager
    async def open_router(self) -> AsyncGenerator[Router]:
        """The router, over the embedder, index and gate that the plan has."""
        flow, settings = self.flow, self.flow.config.router
        assert settings is not None
        node = flow.config.node
        async with open_router(
            settings,
            embedder=self.handles["router.embedder"],
            indexes=self.handles["router.index"],
            gates=self.handles["router.gate"],
            state=flow.state,
            directory=flow.directory,
            about=flow.about,
            apart=frozenset({BUILTIN, MEMORY}),
            sights=lambda: flow.requests.guards,
            loads=flow.loads,
            folder=node.data_dir / "router" if flow.state.durable else None,
            seed=0 if node.seed is None else node.seed,
        ) as router:
            flow.route_by(router)
            try:
                yield router
            finally:
                flow.route_by(None)

    @asynccontextmanager
    async def open_requests(self) -> AsyncGenerator[Any]:
        flow = self.flow
        async with open_requests(
            flow.config.requests,
            flow.roster.doers,
            flow.random,
            self._guards(),
            flow.telemetry.tracer,
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
        """What only others use: an authentication scheme, a guard, what the hard state stands on."""
        component = self.flow.plan.find(component.path)  # it may be another one than at the start
        async with self._open(component) as handle:
            self.handles[component.path] = handle
            if component.kind == "guard":
                self.flow.guards[component.name] = handle
            yield handle

    @asynccontextmanager
    async def open_agent(self, component: Component, child: str) -> AsyncGenerator[Agent]:
        selection = component.selection
        settings: AgentSettings = selection.common
        source = partial(self._open, component)
        balancer = partial(self._open, self.flow.plan.find(f"{component.path}.balancer"))
        async with self._joined(component.name, settings, source, balancer, child) as agent:
            if child not in self._candidates:
                self.handles[component.path] = agent
            yield agent

    @asynccontextmanager
    async def open_builtin(self) -> AsyncGenerator[Agent]:
        settings = AgentSettings(
            description="the node itself: its agents and its status",
            deadline=self.flow.config.requests.max_deadline,  # what it passes on has its own
        )
        source = partial(open_builtin, self.flow)
        async with self._joined(BUILTIN, settings, source, _open_first_free) as agent:
            yield agent

    @asynccontextmanager
    async def open_memory(self) -> AsyncGenerator[Agent]:
        settings = AgentSettings(description="shared memory, found by key and by meaning")
        source = partial(open_memory, self.flow)
        async with self._joined(MEMORY, settings, source, _open_first_free) as agent:
            yield agent

    @asynccontextmanager
    async def _joined(
        self,
        name: str,
        settings: AgentSettings,
        source: OpenSource,
        balancer: OpenBalancer,
        child: str = BUILTIN,
    ) -> AsyncGenerator[Agent]:
        flow = self.flow

        def changed(agent: Agent) -> None:
            if flow.agents.get(name) is agent:
                self._tell(agent)

        if child not in self._candidates:
            flow.board.set(f"agent.{name}", flow.type_of(name), Status.STARTING)
        async with open_agent(
            name,
            settings,
            source,
            balancer,
            chance=flow.random,
            watchers=flow.watchers,
            changed=changed,
            late=lambda: flow.requests.tracker.late(),
        ) as agent:
            if child not in self._candidates:
                flow.roster.join(agent)
            try:
                async with self._single(agent):
                    yield agent
            finally:
                if flow.agents.get(name) is agent:
                    flow.roster.leave(name)

    @asynccontextmanager
    async def _single(self, agent: Agent) -> AsyncGenerator[None]:
        """Have an agent run here only while this node holds its lease, if it is a singleton."""
        flow, settings = self.flow, agent.settings
        if not settings.singleton:
            yield
            return
        async with open_single(
            agent,
            flow.state,
            flow.holder,
            seconds=settings.lease,
            shutdown=settings.shutdown,
            chance=flow.random,
        ) as single:
            flow.singletons[agent.name] = single
            try:
                yield
            finally:
                if flow.singletons.get(agent.name) is single:
                    del flow.singletons[agent.name]

    def _tell(self, agent: Agent) -> None:
        flow, name = self.flow, agent.name
        status = AGENT_STATUS[agent.state.value]
        if agent.standing_by:
            status = Status.OK  # it is as it should be: another node's
        flow.board.set(f"agent.{name}", flow.type_of(name), status, agent.reason)
        flow.directory.changed()

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
                with self._measured(component, opened):
                    yield opened
        except SystemExit as error:
            raise PluginError(
                f"{factory.kind} type {factory.type!r} called sys.exit({error.code!r})"
            ) from error

    @contextmanager
    def _measured(self, component: Component, opened: object) -> Iterator[None]:
        """Have what was opened be read as long as it is open, if it has metrics."""
        if not isinstance(opened, Measured):
            yield
            return
        stop = self.flow.metrics.add_measured(component.path, component.name, opened)
        try:
            yield
        finally:
            stop()

    @asynccontextmanager
    async def open_edge(self, component: Component) -> AsyncGenerator[Edge]:
        async with self._open(component) as edge:
            self.handles[component.path] = edge
            self.flow.serve_at(component.name, edge.endpoints)
            yield edge

    # ---- agents that come and go while the flow runs (`flowcore.flow.reload.AgentChanges`)

    @property
    def _agents(self) -> Supervisor:
        assert self.flow.root is not None
        branch: Supervisor | None = self.flow.root.handle("agents")
        if branch is None:
            raise AssemblyError("the agents are being started anew: reload later")
        return branch

    def settle_guards(self, name: str) -> None:
        """The guards of an agent's requests are those of the flow's configuration from now on."""
        chosen = self.flow.config.agent.get(name)
        names = chosen.common.guards if chosen is not None and chosen.common else ()
        guards = [self.handles[f"guard.{one}"] for one in names]
        self.flow.requests.guards.place(name, guards)

    async def add_agent(self, component: Component) -> None:
        """Start an agent; it fails alone."""
        self.settle_guards(component.name)
        await self._agents.start_child(self._agent_child(component, self._next_child(component)))

    async def replace_agent(self, component: Component, seconds: float) -> str | None:
        """Put a new agent in the place of the one of its name, once it is up; why not, where it is not."""
        flow, name, branch = self.flow, component.name, self._agents
        old, old_child = flow.agents[name], self._children[name]
        child = self._next_child(component)
        self._candidates.add(child)
        leaving = child
        try:
            agent: Agent = await branch.start_child(self._agent_child(component, child))
            state = await agent.wait_until(State.IDLE, State.BUSY, State.FAILED, State.STOPPED)
            if not state.available and old.state not in (State.FAILED, State.STOPPED):
                return agent.reason
            if old.state is State.PAUSED:
                agent.pause()
            flow.roster.join(agent)
            self.settle_guards(name)
            self.handles[component.path] = agent
            self._children[name], leaving = child, old_child
            self._tell(agent)
            await old.drain(seconds)
        finally:
            self._candidates.discard(child)
            with trio.CancelScope(shield=True):  # it takes its own `shutdown` at most
                await self._end_child(branch, leaving)
        return None

    async def remove_agent(self, agent: Agent, seconds: float) -> None:
        """Let an agent's calls end within `seconds`, and forget it."""
        flow, name = self.flow, agent.name
        flow.roster.leave(name)
        await agent.drain(seconds)
        await self._end_child(self._agents, self._children.pop(name))
        self.handles.pop(f"agent.{name}", None)
        flow.board.forget(f"agent.{name}")
        self.settle_guards(name)

    async def replace_topology(self) -> None:
        """Open the topology that the plan has now, and have the swarm follow it; no link is cut by that."""
        root, path = self.flow.root, "swarm.topology"
        assert root is not None
        with trio.CancelScope(shield=True):
            await root.stop_child(path)
            await root.restart_child(path)
        self.flow.swarm.use(self.handles[path], self.flow.plan.find(path).factory.type)

    def _next_child(self, component: Component) -> str:
        """The name of the child that an agent will be: no two are alike."""
        child = component.name
        if child in self._children or child in self._children.values():
            child = f"{component.name}~{next(self._numbers)}"
        self._children.setdefault(component.name, child)
        return child

    @staticmethod
    async def _end_child(branch: Supervisor, child: str) -> None:
        if any(one.name == child for one in branch.children()):
            await branch.stop_child(child)
            await branch.delete_child(child)

    def _agent_child(self, component: Component, child: str) -> Child:
        shutdown = self.flow.config.supervision.shutdown
        return Child(
            name=child,
            run=serve_context(partial(self.open_agent, component, child)),
            shutdown=shutdown + component.selection.common.shutdown,
        )

    # ---- the tree

    def agents(self) -> list[Child]:
        """The agents as they are now: the branch may be opened anew after they have changed."""
        self._children = {one.name: one.name for one in self.flow.plan.of_kind("agent")}
        self._candidates.clear()
        own = [self._child(BUILTIN, self.open_builtin)]
        if self.flow.remembers:
            own.append(self._child(MEMORY, self.open_memory))
        return [
            *own,
            *(self._agent_child(one, one.name) for one in self.flow.plan.of_kind("agent")),
        ]

    def children(self) -> list[Child]:
        plan = self.flow.plan
        edges = [
            self._child(one.name, partial(self.open_edge, one)) for one in plan.of_kind("edge")
        ]
        return [
            *(self._child("exporters", self.open_exporters) for _ in plan.of_kind("exporter")[:1]),
            *self._parts("auth", "guard", "topology", "membership"),
            *(self._child("swarm", self.open_swarm) for _ in plan.of_kind("membership")),
            *self._parts("storage", "consensus"),
            *(self._child("state", self.open_state) for _ in plan.of_kind("consensus")),
            self._child("requests", self.open_requests),
            self._branch("agents", self.agents),
            *(self._child("federation", self.open_federation) for _ in plan.of_kind("membership")),
            *(self._child("durable", self.open_durable) for _ in plan.of_kind("consensus")),
            *(
                self._branch("routing", self.routing, Strategy.REST_FOR_ONE)
                for _ in plan.of_kind("gate")
            ),
            self._branch("edges", lambda: edges),
        ]

    def routing(self) -> list[Child]:
        """What the router stands on, and the router: a fault of theirs is no fault of the agents."""
        parts = self._parts("embedder", "vectors", "gate")
        return [*parts, self._child("router", self.open_router)]

    def _parts(self, *kinds: str) -> list[Child]:
        return [
            self._child(one.path, partial(self.open_part, one))
            for kind in kinds
            for one in self.flow.plan.of_kind(kind)
        ]

    def _child(self, name: str, open_: Callable[[], AbstractAsyncContextManager[Any]]) -> Child:
        shutdown = self.flow.config.supervision.shutdown
        return Child(name=name, run=serve_context(open_), shutdown=shutdown)

    def _branch(
        self,
        name: str,
        children: Callable[[], list[Child]],
        strategy: Strategy = Strategy.ONE_FOR_ONE,
    ) -> Child:
        settings = self.flow.config.supervision

        def open_() -> AbstractAsyncContextManager[Supervisor]:
            return open_supervisor(
                name,
                children(),
                strategy=strategy,
                intensity=settings.restarts,
                period=settings.period,
                watch=self.watch,
            )

        return supervisor_child(name, open_)

    def watch(self, happening: Happening) -> None:
        """Turn what supervision sees into the status of edges; agents tell their own."""
        path = f"edge.{happening.child}" if happening.supervisor == "edges" else happening.child
        parts = ("edge.", "auth.", "guard.", "router.", "swarm.")
        alone = ("storage", "consensus", "state", "router", "swarm", "federation", "durable")
        if (not path.startswith(parts) and path not in alone) or happening.what is What.GAVE_UP:
            return
        status = {
            What.STARTED: Status.OK,
            What.START_FAILED: Status.FAILED,
            What.EXITED: Status.FAILED,
            What.STOPPED: Status.STOPPED,
            What.OVERDUE: Status.STOPPING,
        }[happening.what]
        reason = "" if happening.error is None else reason_of(happening.error)
        own = path in ("state", "router", "swarm", "federation", "durable")
        type_ = path if own else self.flow.plan.find(path).factory.type
        self.flow.board.set(path, type_, status, reason)


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
        building = flow.changes = _Building(flow, config_dir, launcher)
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


@asynccontextmanager
async def open_parts(flow: Flow, config_dir: pathlib.Path, kind: str) -> AsyncGenerator[Any]:
    """Open the one component of a kind by itself, of a flow that is not open, for what is done offline."""
    async with AsyncExitStack() as stack:
        launcher = await stack.enter_async_context(open_shared_launcher())
        building = _Building(flow, config_dir, launcher)
        (component,) = flow.plan.of_kind(kind)
        yield await stack.enter_async_context(building.open_part(component))


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
