"""One protocol per kind of plugin: what its `open` must yield, and what it is given.

| kind | yields | chosen in TOML by |
|---|---|---|
| agent | `WorkerSource` | `[agent.NAME] type = "..."` |
| balancer | `Balancer` | `[agent.NAME] balancer = "..."` |
| auth | `AuthScheme` | `[auth.NAME] type = "..."`, named by `[edge.NAME] auth` |
| guard | `requests.Guard` | `[guard.NAME] type = "..."`, named by `guards` |
| edge | `Edge` | `[edge.NAME] type = "..."` |
| embedder | `routing.Embedder` | `[router] embedder = "..."` |
| vectors | `routing.VectorIndexes` | `[router] index = "..."` |
| gate | `routing.Gates` | `[router] gate = "..."` |
| consensus | `state.Consensus` | `[consensus] type = "..."` |
| storage | `state.Storage` | `[storage] type = "..."` |
| topology | `swarm.Topology` | `[swarm] topology = "..."` |
| membership | `swarm.Membership` | `[swarm] membership = "..."` |
| exporter | `telemetry.Exporter` | `[exporter.NAME] type = "..."` |
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs
from msgspec import Raw

if TYPE_CHECKING:
    import trio

    from flowcore.agents.catalog import Catalog
    from flowcore.agents.directory import Directory
    from flowcore.agents.events import Event
    from flowcore.agents.state import State
    from flowcore.assembly.status import ComponentStatus
    from flowcore.envelope import Envelope, Principal, Reply
    from flowcore.http import Request
    from flowcore.requests.guards import Guard
    from flowcore.requests.pipeline import Requests
    from flowcore.routing.router import Router
    from flowcore.state import State as HardState
    from flowcore.swarm.swarm import Swarm
    from flowcore.swarm.weather import Weather
    from flowcore.telemetry import Metrics, Telemetry
    from flowcore.wall import WallClock


class Worker(Protocol):
    """One live instance of an agent: a task, a child process, a connection.

    It may have `traced` (`flowcore.agents.Traced`): how its calls are recorded, where it asks somebody else.
    What it passes on is in the envelope's `meta`: `traceparent` there is the span of this very call.

    It may have a `weight`, a number: how many calls it should be given for one of a worker of weight 1, where
    the balancer is `weighted`.
    """

    async def call(self, envelope: Envelope) -> Reply:
        """Do one request and give its result.

        Runs in the caller's task. Cancellation means the caller is gone or the deadline has passed: pass
        it on to the upstream and return at once. Raises CallError for a typed outcome; any other
        exception counts as the agent's own failure and becomes an error result for the caller.
        At most the pool's `concurrency` calls run at a time.
        """
        ...

    async def ping(self) -> None:
        """Return if healthy, raise if not. The core bounds it with the heartbeat's deadline."""
        ...


class AgentPort(Protocol):
    """What the core gives a worker: the way to speak of itself outside any call."""

    @property
    def agent(self) -> str:
        """The agent's name in the configuration."""
        ...

    @property
    def worker(self) -> str:
        """This worker's own name, such as `time/3`."""
        ...

    def announce(self, catalog: Catalog) -> None:
        """This is what the agent offers now. The last announcement of any worker holds."""
        ...

    def notify(self, method: str, params: Raw, *, audience: Principal | None = None) -> None:
        """Something happened outside any call (`notifications/resources/updated`,
        `notifications/message`): whoever subscribed is told; with `audience`, only that principal."""
        ...

    def stderr(self, line: str) -> None:
        """A line the worker's process wrote to stderr; the last lines are shown in the status."""
        ...

    def left_behind(self, what: str, *, retire: bool) -> Callable[[], None]:
        """Something that a call began goes on, though the call is over and nobody waits for it.

        It is counted in the status until the returned function is called, once. With `retire` this worker
        takes no further call, another one takes its place, and it is closed when the calls it has, and all
        that it left behind, have ended.
        """
        ...

    def late(self) -> None:
        """An answer came to a call that was given up, or answered before: it was dropped, and is counted."""
        ...


class WorkerSource(Protocol):
    """What an agent plugin opens once per `[agent.NAME]`: the maker of its workers."""

    @property
    def pool_defaults(self) -> PoolDefaults:
        """Pool settings of this type of agent, where the TOML says nothing."""
        ...

    @property
    def heartbeat(self) -> bool:
        """Whether workers must be pinged (processes, MCP and HTTP), or a death is known at once."""
        ...

    def open_worker(self, port: AgentPort) -> AbstractAsyncContextManager[Worker]:
        """Open one worker. Entering returns when it is ready to work, its catalog announced.

        A worker that dies must make the `async with` body end with an exception (a nursery inside
        that raises does); leaving the block lets go of everything it held.
        """
        ...


@attrs.frozen(kw_only=True)
class PoolDefaults:
    """How many workers of an agent there are, and how many calls each takes at a time."""

    min: int = 5
    max: int = 100
    concurrency: int = 1


@attrs.define(eq=False)
class Load:
    """One worker as its balancer sees it. The pool keeps it up to date; balancers only read it."""

    worker: int
    """A number that stays with the worker while it lives and is never given again."""
    active: int = 0
    """Calls it is doing now; below the pool's concurrency, or it would not be a candidate."""
    weight: float = 1.0
    """What the worker says of itself (`Worker`); 1 where it says nothing."""


class Balancer(Protocol):
    """Chooses among the workers of a pool that can take a call. Sans-IO: time and chance are given."""

    def pick(self, candidates: Sequence[Load], affinity: bytes | None, now: float) -> int:
        """The index into `candidates` (never empty) of the worker that gets the call."""
        ...

    def started(self, worker: int, now: float) -> None:
        """A call began on this worker."""
        ...

    def finished(self, worker: int, now: float, seconds: float, ok: bool) -> None:
        """A call ended after `seconds`; `ok` is False for a failure (a caller's cancel is neither)."""
        ...

    def removed(self, worker: int) -> None:
        """This worker is gone; forget it."""
        ...


class AuthScheme(Protocol):
    """One way of telling who asks. Fails closed: whatever it is not sure of, it refuses."""

    @property
    def challenge(self) -> str:
        """What a client without credentials is told to bring: a challenge of WWW-Authenticate (RFC 9110
        section 11.6.1) such as `Bearer`; "" if there is none, as for client certificates."""
        ...

    @property
    def headers(self) -> tuple[bytes, ...]:
        """The headers that its credentials come in, in lower case; () for what comes otherwise, such as
        client certificates. A request that has one of them, and that no scheme takes, is refused."""
        ...

    async def identify(self, request: Request, resource: str) -> Principal | None:
        """Who sends this request; None if it brings no credentials of this scheme.

        `resource` is the URI of the edge, which credentials that name an audience must be meant for.
        Raises Unauthenticated for credentials that are wrong: no other scheme is asked then.
        """
        ...


@runtime_checkable
class OAuthScheme(AuthScheme, Protocol):
    """A scheme of tokens that OAuth authorization servers give out: edges tell clients which (RFC 9728)."""

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        """The issuer URLs of the authorization servers whose tokens are taken; () if that is not known."""
        ...

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that a client should ask them for; () if it needs none."""
        ...


class Edge(Protocol):
    """A face to the outside. It serves from the moment it is yielded until its block is left."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where it can be reached, as URLs or words for a person (`http://127.0.0.1:7300/mcp`)."""
        ...


class AgentView(Protocol):
    """An agent as edges see it: to look at, and to steer."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def reason(self) -> str:
        """Why it is in that state, for a person; empty if there is nothing to say."""
        ...

    def status(self) -> dict[str, Any]:
        """Everything about it, as plain data that JSON can carry; times in seconds."""
        ...

    def pause(self) -> None:
        """Take no calls until `resume`; those under way go on. Raises AgentUnavailable if it is not up."""
        ...

    def resume(self) -> None:
        """Take calls again. Raises AgentUnavailable if it was not paused."""
        ...

    def restart(self) -> None:
        """Begin anew, letting calls under way finish within the agent's `shutdown`."""
        ...

    def crash(self, reason: str) -> None:
        """Fail now, as if by itself: for who rehearses failure. Raises AgentUnavailable if it is not up."""
        ...


class Host(Protocol):
    """The flow as its edges see it."""

    @property
    def name(self) -> str:
        """The node's name."""
        ...

    @property
    def directory(self) -> Directory:
        """Who offers what, under which public name."""
        ...

    async def submit(self, envelope: Envelope) -> Reply:
        """Take a request its whole way: admit, choose, guard, balance, work; exactly one outcome.

        `envelope.agent` and `.name` are filled in from `directory.resolve(...)`. Raises CallError.
        Cancelling the caller cancels the work.
        """
        ...

    def events(
        self, limit: int = 1000
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Everything that changes from now on: states, catalogs, agents' own notifications.

        At most `limit` wait; a reader that is slower loses what does not fit, and is told so by `Lost`.
        """
        ...

    def watch(
        self, callback: Callable[[Event], None], *, activity: bool = True
    ) -> Callable[[], None]:
        """Call `callback` with everything that changes, until the returned function is called.

        It is called in the task that caused the event, with `activity` also twice for each call that makes
        an idle agent busy: it must be quick, must not block and must not raise. Nothing is lost.
        """
        ...

    def emit(self, event: Event) -> None:
        """Tell everyone who watches. Never blocks, never raises."""
        ...

    @property
    def requests(self) -> Requests:
        """Requests under way and ended, and tasks."""
        ...

    def agent(self, name: str) -> AgentView:
        """An agent by name, to look at or to steer. Raises UnknownTarget."""
        ...

    @property
    def state(self) -> HardState:
        """What must not be forgotten. Raises AssemblyError where nothing asked for it, or it is closed."""
        ...

    @property
    def router(self) -> Router:
        """Whom requests in words are for, and shared memory. Raises AgentUnavailable if there is none."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """What this node tells of itself: who records requests, what was recorded lately, its exporters."""
        ...

    async def trace(self, id_: str) -> dict[str, Any]:
        """What is remembered of a trace, by its id or a request's, at all nodes that can be reached.

        Raises UnknownTarget.
        """
        ...

    @property
    def weather(self) -> Weather:
        """What links and gossip fare in, for who rehearses failure."""
        ...

    @property
    def metrics(self) -> Metrics:
        """What the node has to tell as metrics: `await metrics.snapshot()`."""
        ...

    @property
    def wall(self) -> WallClock:
        """The wall clock: what expires, and what is stamped, goes by it."""
        ...

    @property
    def linked(self) -> bool:
        """Whether this node is part of a swarm."""
        ...

    @property
    def swarm(self) -> Swarm:
        """The other nodes. Raises AssemblyError where this node is alone."""
        ...

    def guard(self, name: str) -> Guard:
        """A guard by name, to have it do something. Raises UnknownTarget."""
        ...

    @property
    def revoked(self) -> Container[str]:
        """Credentials and principals that are good no more, as `access.revocation_id` names them."""
        ...

    async def revoke(self, ids: Sequence[str], seconds: float | None = None) -> None:
        """These are good no more at any node, for so many seconds or for ever.

        Raises AgentUnavailable without a hard state, QuotaExceeded, InvalidArguments.
        """
        ...

    async def reinstate(self, ids: Sequence[str]) -> list[str]:
        """These are revoked no more at any node; gives those that were.

        Raises AgentUnavailable without a hard state, InvalidArguments, OutcomeUnknown.
        """
        ...

    async def kept_tasks(self, most: int) -> list[dict[str, Any]]:
        """The tasks that outlive nodes, latest first, as plain data without their ids; [] without any."""
        ...

    async def revocations(self) -> list[dict[str, Any]]:
        """What is revoked, as plain data. Raises AgentUnavailable without a hard state."""
        ...

    @property
    def ready(self) -> bool:
        """Whether new work is welcome."""
        ...

    @property
    def draining(self) -> trio.Event:
        """Set once a drain has begun."""
        ...

    def components(self) -> tuple[ComponentStatus, ...]:
        """The status of every component."""
        ...

    def status(self) -> dict[str, Any]:
        """What is true now, measured: node, components, agents with pools, guards, requests; JSON-able."""
        ...

    def overview(self) -> dict[str, Any]:
        """The status without `components`, `agents` and `elsewhere`: quick, however many there are."""
        ...

    def each_agent(self) -> Iterator[dict[str, Any]]:
        """The status of each agent, in order of their names; whoever asks may take a break in between."""
        ...

    def elsewhere(self) -> list[dict[str, Any]]:
        """The agents of other nodes as this one knows them, by name and node."""
        ...

    async def ask_agents(self) -> list[dict[str, Any]]:
        """The same, with what their nodes say when they are asked: pools, calls, durations, breakers,
        the last trouble. A node that does not answer soon is not waited for: what is known of it is told."""
        ...

    async def ask_nodes(self) -> dict[str, Any]:
        """What this node and each other one tell of themselves, as plain data: `about`, and `nodes` with how
        far their clocks are from this one's; `error` where one does not answer."""
        ...

    def retire(self) -> None:
        """Refuse new work from now on, and have whoever runs this node drain it and end."""
        ...
