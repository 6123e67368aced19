"""Opening a plan: every component under supervision, in dependency order, closed in reverse.

The tree: `root` (rest_for_one) over authentication schemes and guards, the hard state where something needs
it (storage, consensus, state), the requests, `agents` (one_for_one) and `edges` (one_for_one). Whoever loses
a scheme, a guard or the state is opened anew with it, so nothing goes on without. An agent that cannot start
fails alone, in its own life; an edge that cannot open fails the start, for then nobody could reach the node.
"""

from __future__ import annotations

import pathlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from flowcore.agents.reasons import reason_of
from flowcore.assembly import BUILTIN, MEMORY, Status
from flowcore.errors import AssemblyError
from flowcore.flow.agents import Agents
from flowcore.flow.node import Flow
from flowcore.processes import open_shared_launcher
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


@attrs.define(eq=False)
class _Tree(Agents):
    """The tree of what a flow opens."""

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

    async def replace_topology(self) -> None:
        """Open the topology that the plan has now, and have the swarm follow it; no link is cut by that."""
        root, path = self.flow.root, "swarm.topology"
        assert root is not None
        with trio.CancelScope(shield=True):
            await root.stop_child(path)
            await root.restart_child(path)
        self.flow.swarm.use(self.handles[path], self.flow.plan.find(path).factory.type)


@asynccontextmanager
async def open_components(flow: Flow, config_dir: pathlib.Path) -> AsyncGenerator[None]:
    """Open every component of the flow's plan; leaving the block closes them in reverse.

    Raises AssemblyError naming the component that could not open, and why.
    """
    settings = flow.config.supervision
    async with AsyncExitStack() as stack:
        launcher = await stack.enter_async_context(open_shared_launcher())
        building = flow.changes = _Tree(flow, config_dir, launcher)
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
        building = _Tree(flow, config_dir, launcher)
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
