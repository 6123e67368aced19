"""A flow's agents as components: how they open and join, and how they come and go while it runs."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import attrs
import trio

from flowcore.agents import Agent, AgentSettings, State, open_agent
from flowcore.agents.incarnation import OpenBalancer, OpenSource
from flowcore.assembly import BUILTIN, MEMORY, Component, Status
from flowcore.durable import open_single
from flowcore.errors import AssemblyError
from flowcore.flow.builtin import open_builtin, open_memory
from flowcore.flow.parts import Parts
from flowcore.interfaces import Balancer
from flowcore.supervise import Child, Supervisor, serve_context

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
class Agents(Parts):
    """The agents of a flow; what `flowcore.flow.reload.AgentChanges` asks for."""

    _children: dict[str, str] = attrs.field(factory=dict)
    """The supervised child that each agent is now, by the agent's name."""
    _candidates: set[str] = attrs.field(factory=set)
    """Children that are to take an agent's place, and have not yet."""
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(2))

    @asynccontextmanager
    async def open_agent(self, component: Component, child: str) -> AsyncGenerator[Agent]:
        selection = component.selection
        settings: AgentSettings = selection.common
        source = partial(self.opened, component)
        balancer = partial(self.opened, self.flow.plan.find(f"{component.path}.balancer"))
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

    # ---- agents that come and go while the flow runs

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
