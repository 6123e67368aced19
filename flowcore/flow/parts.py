"""What plugins open, and what a flow has one of: each a block that puts it in its place and takes it away."""

from __future__ import annotations

import inspect
import pathlib
import random
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import attrs

from flowcore.agents import LinkChanged
from flowcore.assembly import BUILTIN, MEMORY, Component, OpenContext, Status, lacks
from flowcore.durable import Durable, open_durable
from flowcore.errors import PluginError
from flowcore.federation import Federation
from flowcore.flow.about import SERVICE as ABOUT
from flowcore.flow.about import Telling
from flowcore.flow.clocks import keep_clock
from flowcore.flow.exporters import Exporters, open_exporters
from flowcore.flow.federating import open_federation
from flowcore.flow.node import Flow
from flowcore.interfaces import Edge
from flowcore.processes import SharedLauncher
from flowcore.requests import Guard, Guards, open_requests
from flowcore.routing import Router, open_router
from flowcore.state import STATE_FILE, HasSeals, open_state
from flowcore.state import State as HardState
from flowcore.swarm import Swarm
from flowcore.telemetry import Measured


@attrs.define(eq=False)
class Parts:
    """What the components of one flow share while they open, and the parts that it has one of."""

    flow: Flow
    config_dir: pathlib.Path
    launcher: SharedLauncher
    handles: dict[str, Any] = attrs.field(factory=dict)
    """What was opened, by the component's path."""

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

    # ---- what plugins open

    @asynccontextmanager
    async def opened(self, component: Component) -> AsyncGenerator[Any]:
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
    async def open_part(self, component: Component) -> AsyncGenerator[Any]:
        """What only others use: an authentication scheme, a guard, what the hard state stands on."""
        component = self.flow.plan.find(component.path)  # it may be another one than at the start
        async with self.opened(component) as handle:
            self.handles[component.path] = handle
            if component.kind == "guard":
                self.flow.guards[component.name] = handle
            yield handle

    @asynccontextmanager
    async def open_edge(self, component: Component) -> AsyncGenerator[Edge]:
        async with self.opened(component) as edge:
            self.handles[component.path] = edge
            self.flow.serve_at(component.name, edge.endpoints)
            yield edge

    # ---- what a flow has one of

    @asynccontextmanager
    async def open_state(self) -> AsyncGenerator[HardState]:
        """The hard state, over the consensus that the plan has."""
        flow = self.flow
        consensus = self.handles["consensus"]
        path = flow.config.node.data_dir / STATE_FILE
        overlay = flow.swarm.overlay if flow.linked else None
        storage = self.handles.get("storage")
        seals = storage.seals if isinstance(storage, HasSeals) else None
        async with (
            keep_clock(flow.wall, consensus, overlay) as clock,
            open_state(consensus, path, flow.config.state, clock=clock, seals=seals) as state,
        ):
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
            components, flow.telemetry, flow.board, self.opened, flow.metrics.snapshot
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
            report=self._router_keeps,
        ) as router:
            flow.route_by(router)
            try:
                yield router
            finally:
                flow.route_by(None)

    def _router_keeps(self, why: str) -> None:
        status = Status.DEGRADED if why else Status.OK
        self.flow.board.set("router", "router", status, why)

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
