"""A node, running: its agents, its requests, and what is true of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import attrs
import msgspec
import trio

from flowcore.access import Access
from flowcore.agents import Agent, Directory, Event, State, StateChanged, Target, Watchers
from flowcore.assembly import (
    ComponentStatus,
    FlowConfig,
    Plan,
    Plugins,
    Source,
    StatusBoard,
    make_plan,
    read,
    read_config,
)
from flowcore.config import ConfigError
from flowcore.envelope import tool_params
from flowcore.errors import (
    AgentUnavailable,
    AssemblyError,
    CallError,
    DeadlineExceeded,
    InvalidRequest,
    UnknownTarget,
)
from flowcore.flow.progress import Listening, OnProgress
from flowcore.flow.reload import AgentChanges, Reloaded, Steps, placed, places, steps
from flowcore.requests import (
    DEAF,
    LOCAL,
    Envelope,
    Guard,
    Peer,
    Principal,
    Priority,
    Reply,
    Requests,
    complete,
)
from flowcore.result import Result
from flowcore.routing import Memory, Route, Router
from flowcore.state import State as HardState
from flowcore.supervise import Supervisor

Kind = Literal["tools", "resources", "prompts"]


class Flow:
    """One node, running. Made by `open_flow` only."""

    def __init__(
        self, config: FlowConfig, plan: Plan, plugins: Plugins, *, given: Sequence[object] = ()
    ) -> None:
        self._given = tuple(given)
        self.config = config
        self.plan = plan
        self.plugins = plugins
        self.directory = Directory()
        self.board = StatusBoard(trio.current_time)
        self.random = random.Random(config.node.seed)
        self.watchers = Watchers()
        self.agents: dict[str, Agent] = {}
        self.guards: dict[str, Guard] = {}
        self.access: dict[str, Access] = {}
        """Who may come in, by edge, where credentials are asked for."""
        self.requests: Requests
        self._state: HardState | None = None
        self._router: Router | None = None
        self.root: Supervisor | None = None
        self.changes: AgentChanges | None = None
        """Who starts and stops agents while it runs."""
        self._reloading = trio.Lock()
        """The supervisor of everything, while it is open."""
        self.started = trio.current_time()
        self.draining = trio.Event()
        self._endpoints: dict[str, tuple[str, ...]] = {}

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

    def route_by(self, router: Router | None) -> None:
        """This is the router now; None: it is closed."""
        self._router = router
        self.requests.listener = None if router is None else router.heard

    def keep_in(self, state: HardState | None) -> None:
        """This is the hard state now; None: it is closed."""
        self._state = state

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

    # ---- calling

    def submit(self, envelope: Envelope) -> Coroutine[Any, Any, Reply]:
        """Take a request its whole way. Raises CallError for every outcome but a result."""
        return self.requests.submit(envelope)

    async def call(
        self,
        target: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        deadline: float | None = None,
        priority: Priority = Priority.NORMAL,
        idempotency_key: str | None = None,
        affinity: str | None = None,
        principal: Principal = LOCAL,
        peer: Peer = DEAF,
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Call a tool by its public name (`agent.tool`) and give its result.

        `deadline` is in seconds from now; unset, the agent's own holds. Calls of one `affinity` meet one
        worker, where the agent's balancer is `consistent_hash`. An agent that is still starting is
        waited for. `on_progress(progress, total, message)` is called each time the work tells how far it
        is, in the task that tells: it must be quick. A tool that asks for something while it works, or ends
        its call to ask and is called again with the answers, asks the `peer`; that time does not count.
        Raises CallError: MissingCapability where the tool asks what the peer does not declare. A tool that
        ran and reports an error is a Result with `is_error` set.
        """
        return await self._ask(
            "tools/call",
            "tools",
            target,
            arguments or {},
            deadline,
            priority,
            idempotency_key,
            None if affinity is None else affinity.encode(),
            principal,
            peer,
            on_progress,
        )

    async def read_resource(
        self, uri: str, *, deadline: float | None = None, peer: Peer = DEAF
    ) -> Result:
        """Read a resource of whichever agent offers it; see `call`."""
        return await self._ask("resources/read", "resources", uri, None, deadline, peer=peer)

    async def get_prompt(
        self,
        target: str,
        arguments: Mapping[str, str] | None = None,
        *,
        deadline: float | None = None,
        peer: Peer = DEAF,
    ) -> Result:
        """A prompt by its public name, filled in; see `call`."""
        return await self._ask(
            "prompts/get", "prompts", target, arguments or {}, deadline, peer=peer
        )

    async def _ask(
        self,
        method: str,
        kind: Kind,
        name: str,
        arguments: Mapping[str, Any] | None,
        deadline: float | None,
        priority: Priority = Priority.NORMAL,
        idempotency_key: str | None = None,
        affinity: bytes | None = None,
        principal: Principal = LOCAL,
        peer: Peer = DEAF,
        on_progress: OnProgress | None = None,
    ) -> Result:
        until = _deadline(deadline)
        found = await self._find(kind, name, until)
        envelope = Envelope(
            method=method,
            agent=found.agent,
            name=found.name,
            params=(
                {"uri": msgspec.Raw(msgspec.json.encode(found.name))}
                if arguments is None
                else tool_params(found.name, arguments)
            ),
            deadline=until,
            explicit=deadline is not None,
            priority=priority,
            idempotency_key=idempotency_key,
            affinity=affinity,
            principal=principal,
            peer=peer if on_progress is None else Listening(peer, on_progress),
        )
        if on_progress is not None:  # or an upstream would not be asked to tell
            envelope.meta["progressToken"] = msgspec.Raw(msgspec.json.encode(envelope.id))
        reply = await self.requests.submit(envelope)
        if reply.modern:  # it may ask back
            each = math.inf if deadline is None else deadline
            reply = await complete(self.requests.submit, envelope, reply, deadline=each)
        return Result.of(reply)

    async def _find(self, kind: Kind, name: str, until: float) -> Target:
        """Where a call goes. What an agent offers is known once it has started: that is waited for."""
        while True:
            revision = self.directory.revision
            try:
                return self.directory.resolve(kind, name)
            except CallError as error:
                if self.closed:
                    raise AgentUnavailable("this flow is closed") from None
                if not any(agent.state is State.STARTING for agent in self._may_offer(kind, name)):
                    raise
                refused = error
            with trio.move_on_at(until) as waiting:
                await self.directory.wait_changed(revision)
            if waiting.cancelled_caught:
                raise DeadlineExceeded(f"{refused.message}, until the deadline", began=False)

    def _may_offer(self, kind: Kind, name: str) -> list[Agent]:
        """Whom a public name may belong to, once they tell what they offer."""
        agent = self.agents.get(name.partition(".")[0])
        if kind != "resources" and agent is not None:
            return [agent]
        return [one for one in self.agents.values() if one.bare or kind == "resources"]

    # ---- in words

    async def route(
        self, text: str, k: int | None = None, *, principal: Principal = LOCAL
    ) -> Route:
        """Which tools a request in words is for, best first, at most `k` (1 to 16), with reasons.

        `in_scope` is False where the router does not know. Raises AgentUnavailable without a router,
        InvalidArguments, TooLarge, OtherEmbedder, EmbeddingFailed.
        """
        return await self.router.route(text, k, principal=principal)

    async def find_tools(
        self, query: str, k: int = 8, *, principal: Principal = LOCAL
    ) -> list[dict[str, Any]]:
        """The tools for a task, with their schemas, best first. Raises as `route`."""
        found = await self.call("flow.find_tools", {"query": query, "k": k}, principal=principal)
        tools: list[dict[str, Any]] = found.structured["tools"]
        return tools

    async def ask(
        self,
        text: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        fan_out: Mapping[str, Any] | None = None,
        guess: bool = False,
        **how: Any,
    ) -> Result:
        """Have a request in words answered by the tool that it is for, or by several at once.

        `fan_out` is `{"want": "first" | "first_n" | "quorum" | "merge", "ask": 3, "n": 2}`; only tools that
        say that they just read are asked so. `guess` calls the likeliest tool where none is known to be for
        it. `how` is as for `call`. Raises CallError; UnknownTarget where the router does not know.
        """
        given = {"text": text, "arguments": arguments, "fan_out": fan_out, "guess": guess}
        asked = {name: value for name, value in given.items() if value is not None}
        return await self.call("flow.ask", asked, **how)

    async def feedback(
        self, route: str, expert: str, reward: float = 1.0, *, principal: Principal = LOCAL
    ) -> None:
        """Tell how an expert was for a route: 1 was right, 0 was wrong. Learned when it returns.

        Raises UnknownTarget for a route that is not the principal's, or too old; Overloaded.
        """
        await self.router.feedback(route, expert, reward, principal=principal)

    @property
    def memory(self) -> Memory:
        """Shared memory, by namespace, key and meaning. Raises AgentUnavailable without a router."""
        return self.router.memory

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
            "node": self.name,
            "version": version(),
            "uptime": round(now - self.started, 3),
            "draining": self.draining.is_set(),
            "ready": self.ready,
            "endpoints": {name: list(urls) for name, urls in self._endpoints.items()},
            "components": [one.asdict(now) for one in self.components()],
            "agents": [
                {"type": self.type_of(name), **self.agents[name].status()}
                for name in sorted(self.agents)
            ],
            "access": {name: access.status() for name, access in sorted(self.access.items())},
            "guards": {
                name: {"type": self.config.guard[name].type, **guard.status()}
                for name, guard in sorted(self.guards.items())
            },
            "router": None if self._router is None else self._router.status(),
            "state": None if self._state is None else self._state.status(),
            "requests": attrs.asdict(self.requests.statistics()),
            "tasks": attrs.asdict(self.requests.tasks.statistics()),
            "idempotency": attrs.asdict(self.requests.keys.statistics()),
            "collisions": list(self.directory.collisions),
            "plugins": {
                state: sum(one.state == state for one in self.plugins.found)
                for state in ("loaded", "broken", "disabled")
            },
        }

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
        return await self.requests.drain(limit)

    def hurry(self) -> None:
        """Give nothing the time it may take to stop: for a block that is being left, or is about to be."""
        if self.root is not None:
            self.root.hurry()

    async def reload(self, source: Source, overrides: Sequence[str] = ()) -> Reloaded:
        """Read a configuration again and apply what is reloadable; waits until agents have changed places.

        Raises ConfigError, changing nothing, if the new one has a problem; AssemblyError if it is closed.
        """
        if self.closed:
            raise AssemblyError("this flow is closed")
        async with self._reloading:
            new = self._read_again(source, overrides)
            todo = steps(self.config, new)
            before = self.config
            self._settle(todo.config)
            self.requests.retune(todo.config.requests)
            for name in todo.retuned:
                self.agents[name].retune(todo.config.agent[name].common)
            failed = await self._change_agents(todo)
            if failed:  # whose old versions go on
                agents = {**self.config.agent, **{name: before.agent[name] for name in failed}}
                self._settle(attrs.evolve(self.config, agent=agents))
            return Reloaded(
                applied=tuple(one for one in todo.applied if one[6:] not in failed),
                restart=placed(todo.fixed, places(source, overrides)),
                failed=tuple(f"agent.{name}: {why}" for name, why in failed.items()),
            )

    def _read_again(self, source: Source, overrides: Sequence[str]) -> FlowConfig:
        """With the plugins that are loaded, where it asks for no others."""
        if not isinstance(source, FlowConfig):
            try:
                again = read_config(source, self.plugins, overrides)
            except ConfigError:
                # it may ask for other plugins: what is wrong in truth is told by reading it with them
                again = read(source, overrides, self._given).config
            if again.plugins == self.config.plugins:
                make_plan(again, self.plugins.registry)
                return again
        return read(source, overrides, self._given).config

    def _settle(self, config: FlowConfig) -> None:
        self.plan = make_plan(config, self.plugins.registry)
        self.config = config

    async def _change_agents(self, todo: Steps) -> dict[str, str]:
        """Start, replace and end agents, all at once; which could not be replaced, and why."""
        failed: dict[str, str] = {}
        assert self.changes is not None
        changes, seconds = self.changes, self.config.node.drain

        async def replace(name: str) -> None:
            why = await changes.replace_agent(self.plan.find(f"agent.{name}"), seconds)
            if why is not None:
                failed[name] = why

        async with trio.open_nursery() as nursery:
            for name in todo.removed:
                nursery.start_soon(changes.remove_agent, self.agents[name], seconds)
            for name in todo.replaced:
                nursery.start_soon(replace, name)
            for name in todo.added:
                nursery.start_soon(changes.add_agent, self.plan.find(f"agent.{name}"))
        return failed


def _deadline(seconds: float | None) -> float:
    """The time on trio's clock that is so many seconds from now."""
    if seconds is None:
        return math.inf
    if math.isnan(seconds):
        raise InvalidRequest("expected a deadline in seconds, not nan")
    return trio.current_time() + seconds


def version() -> str:
    """flowcore's version, as installed."""
    from importlib import metadata

    return metadata.version("flowcore")
