"""A node, running: its agents, its requests, and what is true of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import msgspec
import trio

from flowcore.access import Access
from flowcore.agents import Agent, Directory, Event, State, StateChanged, Watchers
from flowcore.assembly import (
    ComponentStatus,
    FlowConfig,
    Plan,
    Plugins,
    Source,
    StatusBoard,
    make_plan,
)
from flowcore.durable import Durable, Revocations, Single, holder_of
from flowcore.errors import (
    AgentUnavailable,
    AssemblyError,
    UnknownTarget,
)
from flowcore.federation import Federation, Placed
from flowcore.flow.about import Telling, asked
from flowcore.flow.broadcasting import Broadcast, Broadcasting, Want
from flowcore.flow.calling import Calling
from flowcore.flow.measuring import Opened, watch_node
from flowcore.flow.outliving import kept_tasks, revocations
from flowcore.flow.overview import overview
from flowcore.flow.release import version
from flowcore.flow.reload import AgentChanges, Reloaded
from flowcore.flow.reloading import Reloading
from flowcore.flow.roster import Roster
from flowcore.requests import (
    DEAF,
    LOCAL,
    Envelope,
    Guard,
    Peer,
    Principal,
    Requests,
)
from flowcore.routing import Router
from flowcore.state import State as HardState
from flowcore.supervise import Supervisor
from flowcore.swarm import Swarm, Weather
from flowcore.telemetry import Metrics, Telemetry, keep_places
from flowcore.wall import WallClock

Kind = Literal["tools", "resources", "prompts"]


class Flow(Calling):
    """One node, running. Made by `open_flow` only."""

    def __init__(
        self, config: FlowConfig, plan: Plan, plugins: Plugins, *, given: Sequence[object] = ()
    ) -> None:
        self.config = config
        self.plan = plan
        self.plugins = plugins
        self.directory = Directory()
        self.roster = Roster(self.directory)
        self.board = StatusBoard(trio.current_time)
        self.random = random.Random(config.node.seed)
        self.watchers = Watchers()
        self.agents = self.roster.local
        """The agents of this node, by name."""
        self.guards: dict[str, Guard] = {}
        self.access: dict[str, Access] = {}
        """Who may come in, by edge, where credentials are asked for."""
        self.requests: Requests
        self._state: HardState | None = None
        self._router: Router | None = None
        self._swarm: Swarm | None = None
        self._federation: Federation | None = None
        self.holder = holder_of(config.node.name)
        """This node, in this life, to the hard state."""
        self.revoked = Revocations()
        """What is good no more."""
        self._durable: Durable | None = None
        self.singletons: dict[str, Single] = {}
        """The agents that run at one node at a time, by name."""
        self.wall = WallClock()
        """What time it is: the machine's, but where somebody rehearses that it is wrong."""
        keep_places()
        self.telemetry = Telemetry(
            config.telemetry,
            node=config.node.name,
            version=version(),
            now=trio.current_time,
            wall=self.wall,
        )
        """What this node tells of itself."""
        self.weather = Weather(self.random)
        """What links and gossip fare in: fair, but where somebody rehearses failure."""
        self.root: Supervisor | None = None
        """The supervisor of everything, while it is open."""
        self.changes: AgentChanges | None = None
        """Who starts and stops agents while it runs."""
        self._reloading = Reloading(self, given)
        self.started = trio.current_time()
        self.draining = trio.Event()
        self.retired = trio.Event()
        """Set when an operator wants this node to end; whoever runs it leaves its block then."""
        self._endpoints: dict[str, tuple[str, ...]] = {}
        self.metrics = Metrics(config.node.name, version)
        """What this node has to tell as metrics, and all its components."""
        watch_node(self, self.metrics)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.config.node.name

    @property
    def endpoints(self) -> Mapping[str, tuple[str, ...]]:
        """Where each edge can be reached, by its name."""
        return dict(self._endpoints)

    def serve_at(self, edge: str, endpoints: tuple[str, ...]) -> None:
        """An edge says where it can be reached."""
        self._endpoints[edge] = endpoints

    def type_of(self, agent: str) -> str:
        """The type of an agent, as configured."""
        chosen = self.config.agent.get(agent)
        return "builtin" if chosen is None else chosen.type

    @property
    def state(self) -> HardState:
        """What must not be forgotten. Raises AssemblyError where nothing asked for it, or it is closed."""
        if self._state is None:
            raise AssemblyError(
                "this flow keeps no hard state: it has none of [state], [consensus] and [storage]"
                if self.config.state is None and not self.plan.of_kind("consensus")
                else "the hard state is not open"
            )
        return self._state

    @property
    def router(self) -> Router:
        """Whom requests in words are for, and shared memory. Raises AgentUnavailable if there is none."""
        if self._router is None:
            raise AgentUnavailable(
                "this node has no [router]"
                if self.config.router is None
                else "the router is not open",
                retry_after=None if self.config.router is None else 1.0,
            )
        return self._router

    @property
    def swarm(self) -> Swarm:
        """The other nodes. Raises AssemblyError where there are none, or while it is closed."""
        if self._swarm is None:
            raise AssemblyError(
                "this node is alone: it has no [swarm]"
                if self.config.swarm is None
                else "the swarm is not open"
            )
        return self._swarm

    @property
    def linked(self) -> bool:
        """Whether this node is part of a swarm."""
        return self.config.swarm is not None

    def link_by(self, swarm: Swarm | None) -> None:
        """This is the swarm now; None: it is closed."""
        self._swarm = swarm

    def federate(self, federation: Federation | None) -> None:
        """Other nodes' agents are to be had by this now; None: no more."""
        self._federation = federation
        self.roster.federate(federation)

    def route_by(self, router: Router | None) -> None:
        """This is the router now; None: it is closed."""
        self._router = router
        self.requests.listener = None if router is None else router.heard

    def keep_in(self, state: HardState | None) -> None:
        """This is the hard state now; None: it is closed."""
        self._state = state

    def outlive_in(self, durable: Durable | None) -> None:
        """What requests leave outlives this node by this now; None: no more."""
        self._durable = durable

    async def revoke(self, ids: Sequence[str], seconds: float | None = None) -> None:
        """These are good no more at any node, for so many seconds or for ever; see `access.revocation_id`.

        Raises AgentUnavailable without a hard state, QuotaExceeded, InvalidArguments.
        """
        await self.revoked.revoke(self._keeping(), tuple(ids), seconds)

    async def reinstate(self, ids: Sequence[str]) -> list[str]:
        """These are revoked no more at any node; gives those that were.

        Raises AgentUnavailable without a hard state, InvalidArguments, OutcomeUnknown.
        """
        return list(await self.revoked.reinstate(self._keeping(), tuple(ids)))

    async def revocations(self) -> list[dict[str, Any]]:
        """What is revoked, as plain data. Raises AgentUnavailable without a hard state."""
        return await revocations(self._keeping())

    async def kept_tasks(self, most: int = 100) -> list[dict[str, Any]]:
        """The tasks that outlive nodes, latest first, as plain data; [] where there are none such."""
        return [] if self._state is None else await kept_tasks(self._state, most)

    def _keeping(self) -> HardState:
        if self._state is None:
            raise AgentUnavailable("this node keeps no hard state: it needs a [state] table")
        return self._state

    def opened(self) -> Opened:
        """Its rooms that are open now."""
        return Opened(self._swarm, self._federation, self._state, self._durable, self._router)

    def supervisors(self) -> Iterator[tuple[str, Supervisor]]:
        """Who supervises what, from the root on."""
        if self.root is not None:
            yield "root", self.root
            for one in self.root.children():
                if isinstance(one.handle, Supervisor):
                    yield one.name, one.handle

    @property
    def remembers(self) -> bool:
        """Whether it has shared memory for everybody."""
        return self.config.router is not None and self.config.router.memory.enabled

    def about(self, agent: str) -> str:
        """What an agent is, as its configuration describes it; empty if it does not."""
        chosen = self.config.agent.get(agent)
        return "" if chosen is None or chosen.common is None else chosen.common.description

    def loads(self) -> dict[str, float]:
        """How busy the agents are that are at all, 0 to 1."""
        return {
            name: agent.load for name, agent in self.agents.items() if agent.state is State.BUSY
        }

    # ---- calling everybody

    async def broadcast(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        role: str | None = None,
        topic: str | None = None,
        want: Want = "all",
        n: int = 1,
        deadline: float = 30.0,
        principal: Principal = LOCAL,
        peer: Peer = DEAF,
    ) -> Broadcast:
        """Call a tool, by its own name, of every agent that has a role, or listens to a topic, on all nodes.

        `deadline` is in seconds from now. Who answered, who refused and who was not reached is in what it
        gives. Raises InvalidArguments.
        """
        parent = Envelope(
            agent="",
            name=tool,
            params={},
            deadline=trio.current_time() + deadline,
            principal=principal,
            peer=peer,
        )
        return await Broadcasting(self.name, self.roster.doers.values, self.submit).broadcast(
            parent,
            tool,
            arguments or {},
            role=role,
            topic=topic,
            want=want,
            n=n,
            seconds=deadline,
        )

    # ---- what was recorded

    async def trace(self, id_: str) -> dict[str, Any]:
        """What is remembered of a trace, by its id or a request's, here and at other nodes; plain data.

        Raises UnknownTarget if nobody that can be reached remembers it.
        """
        found = self.telemetry.find(id_)
        trace_id = found[0].trace_id if found else id_
        spans = self.telemetry.spans(trace_id)
        missing: list[str] = []
        if self._federation is not None:
            more, missing = await self._federation.traces.gather(trace_id)
            spans += more
        if not spans:
            raise UnknownTarget(f"no trace {id_[:100]!r} is remembered", data={"missing": missing})
        if spans[0]["trace_id"] != trace_id:  # it was a request's id, which only another node knew
            return await self.trace(spans[0]["trace_id"])
        spans.sort(key=lambda one: one["start"])
        return {
            "trace_id": trace_id,
            "request": next((one.request for one in found), ""),
            "spans": spans,
            "missing": missing,
        }

    # ---- watching

    def events(
        self, limit: int = 1000
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Everything that changes from now on; see `Host.events`."""
        return self.watchers.watch(limit)

    def watch(
        self, callback: Callable[[Event], None], *, activity: bool = True
    ) -> Callable[[], None]:
        """Call `callback` with everything that changes; see `Host.watch`."""
        return self.watchers.call(callback, activity=activity)

    def emit(self, event: Event) -> None:
        """Tell everyone who watches; see `Host.emit`."""
        self.watchers.emit(event)

    def on_state_change(self, callback: Callable[[StateChanged], None]) -> Callable[[], None]:
        """Call `callback` with every change of an agent's state, until the returned function is called."""

        def only_states(event: Event) -> None:
            if isinstance(event, StateChanged):
                callback(event)

        return self.watchers.call(only_states)

    async def wait_settled(self) -> None:
        """Wait until no agent is starting any more: each is available, failed or stopped."""
        while any(agent.state is State.STARTING for agent in self.agents.values()):
            await self.directory.wait_changed(self.directory.revision)

    def components(self) -> tuple[ComponentStatus, ...]:
        """The status of every component, in the order of the plan."""
        return self.board.all()

    def status(self) -> dict[str, Any]:
        """What is true now, measured; plain data that JSON can carry."""
        now = trio.current_time()
        return {
            **self.overview(),
            "components": [one.asdict(now) for one in self.components()],
            "agents": list(self.each_agent()),
            "elsewhere": self.elsewhere(),
        }

    def each_agent(self) -> Iterator[dict[str, Any]]:
        """What is true of each agent, in order of their names; whoever asks may take a break in between."""
        for name in sorted(self.agents):
            agent = self.agents.get(name)
            if agent is not None:
                found = (guard.breaker(name) for guard in self.guards.values())
                breaker = next(filter(None, found), "")
                yield {"type": self.type_of(name), "breaker": breaker, **agent.status()}

    def overview(self) -> dict[str, Any]:
        """The status without what there is of each component and agent: quick, however many there are."""
        return overview(self)

    async def ask_nodes(self) -> dict[str, Any]:
        """What this node and each other one tell of themselves; how far their clocks are from this one's."""

        told: list[dict[str, Any]] = []
        others = []
        if self._swarm is not None:
            members = self._swarm.members()
            others = [one.name for one in members.values() if one.state.present]

        async def ask(node: str) -> None:
            told.append(await asked(self.swarm.overlay, node, self.wall))

        async with trio.open_nursery() as nursery:
            for name in others:
                if name != self.name:
                    nursery.start_soon(ask, name)
        about = msgspec.structs.asdict(Telling(self).about())
        return {
            "node": self.name,
            "about": about,
            "nodes": sorted(told, key=lambda one: str(one["node"])),
        }

    def elsewhere(self) -> list[dict[str, Any]]:
        """The agents of other nodes as this one knows them, by name and node."""
        doers = sorted(self.roster.doers.items())
        places = [place for _, doer in doers if isinstance(doer, Placed) for place in doer.status()]
        federation = self._federation
        return places if federation is None else list(map(federation.looking.joined, places))

    async def ask_agents(self) -> list[dict[str, Any]]:
        """The same, with what their nodes say now of pools, calls, durations and breakers."""
        if self._federation is not None:
            await self._federation.looking.look()
        return self.elsewhere()

    @property
    def ready(self) -> bool:
        """Whether new work is welcome: every component is ok or degraded, and no drain has begun."""
        return not self.draining.is_set() and self.board.ready

    @property
    def closed(self) -> bool:
        """Whether its block has been left: not even the built-in agent is there."""
        return self.draining.is_set() and not self.agents

    # ---- steering

    def agent(self, name: str) -> Agent:
        """An agent by name. Raises UnknownTarget."""
        try:
            return self.agents[name]
        except KeyError:
            raise UnknownTarget(
                f"there is no agent {name!r}", data={"agent": name, "known": sorted(self.agents)}
            ) from None

    def guard(self, name: str) -> Guard:
        """A guard by name. Raises UnknownTarget."""
        try:
            return self.guards[name]
        except KeyError:
            raise UnknownTarget(
                f"there is no guard {name[:100]!r}", data={"known": sorted(self.guards)}
            ) from None

    async def drain(self, seconds: float | None = None) -> bool:
        """Refuse new work and wait, `[node] drain` at most, until the accepted work is done.

        Gives whether all of it was done. What is left is cancelled when the flow's block ends.
        """
        self.draining.set()
        limit = self.config.node.drain if seconds is None else seconds
        if self._federation is not None:
            self._federation.drain()
        return await self.requests.drain(limit)

    def retire(self) -> None:
        """Refuse new work from now on, and have whoever runs the node drain it and end; see `retired`."""
        self.draining.set()
        self.requests.refuse()
        if self._federation is not None:
            self._federation.drain()
        self.retired.set()

    async def cut(self) -> int:
        """End what a drain has left under way, as if its deadline had come; how many requests that were."""
        if self._durable is not None:
            await self._durable.leave()
        return await self.requests.cut()

    def hurry(self) -> None:
        """Give nothing the time it may take to stop: for a block that is being left, or is about to be."""
        if self.root is not None:
            self.root.hurry()

    async def reload(self, source: Source, overrides: Sequence[str] = ()) -> Reloaded:
        """Read a configuration again and apply what is reloadable; waits until agents have changed places.

        Raises ConfigError, changing nothing, if the new one has a problem; AssemblyError if it is closed.
        """
        return await self._reloading.reload(source, overrides)

    def settle(self, config: FlowConfig) -> None:
        """This is the configuration from now on."""
        self.plan = make_plan(config, self.plugins.registry)
        self.config = config
