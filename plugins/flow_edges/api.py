"""The `api` edge: health for machines, and what flowctl needs, as JSON over HTTP.

| request | answer |
|---|---|
| `GET /livez` | 200 while the process runs its event loop |
| `GET /readyz` | 200 when new work is welcome, 503 when not, with the components that are not well |
| `GET /livez/COMPONENT`, `/readyz/COMPONENT` | the same of one, such as `edge.mcp`: 200, 503, or 404 |
| `GET /status` | everything that is true of the node now |
| `GET /agents`, `GET /agents/NAME` | agents with pools and figures |
| `POST /agents/NAME/pause`, `.../resume`, `.../restart` | steer an agent |
| `GET /guards` | guards with what they let through and refused |
| `POST /guards/NAME/ACTION` | have a guard do something, such as `open` a breaker: `{"agent": ..}` |
| `POST /memory/export`, `.../import`, `.../reembed` | a page of patterns out, `{"namespace": .., \
"cursor": .., "vectors": false}`; patterns in, `{"patterns": [..]}`; embed anew what another embedder did |
| `POST /memory/map` | the latest patterns of a namespace as points: `{"namespace": .., "most": 1000, \
"text": ..}` |
| `GET /state` | the hard state: engine, term, leader, members, how far each is, log, snapshot, fsync |
| `POST /members/add`, `.../remove`, `.../promote` | change who decides: `{"nodes": [..]}` |
| `POST /log` | entries of this node's log, readable: `{"first": .., "most": 20}` |
| `POST /snapshot` | the whole state as a file |
| `GET /nodes` | whether the other nodes go by the same time, and embed and find alike |
| `GET /tasks` | tasks and requests under way, and those that ended lately |
| `GET /traces`, `GET /traces/ID` | traces that ended lately; the spans of one, by its id or a request's |
| `GET /events` | what happens, as server-sent events; with `?activity=1` also each call |
| `GET /logs` | the levels of loggers |
| `POST /logs/level` | have a logger tell more, or less: `{"logger": .., "level": "debug"}` |
| `GET /revocations` | credentials and principals that no node lets in any more |
| `POST /revocations/add` | revoke one: `{"scheme": "idp", "what": "jti", "id": .., "seconds": ..}` |
| `POST /revocations/remove` | take that back: `{"scheme": "idp", "what": "jti", "id": ..}` |
| `POST /drain` | take no new work, finish what there is, and end, as by a TERM |
| `GET /tools` | the public names of all tools |
| `GET /metrics`, or whatever path an exporter has | what it has to be fetched |
| `POST /call` | call a tool: `{"tool": .., "arguments": {..}, "deadline": SECONDS, "idempotencyKey": .., \
"priority": "low", "affinity": ..}`, all but the tool optional |

It listens on loopback only, unless `auth` says who may come in; then all but the first two ask who it is. The
guards of the edge are asked about the actions `status`, `tasks`, `revocations`, `revocations.add` (or
`remove`), `agents` and `agents.pause` (or `resume`, `restart`), whose target is the agent, `memory.export`
(or `import`, `reembed`, `map`), `drain`, `state`, `nodes`, `traces`, whose target is the id, `events`,
`logs`, `logs.level`, `metrics`, whose target is the path, `members.add` (or `remove`, `promote`), `log`,
`snapshot`, `guards` and `guards.ACTION`, whose target is the guard; calls pass them as any request does. A
browser's page cannot use it: a request with an Origin header, or for another host than the one it listens on,
is refused.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import attrs
import msgspec
import trio

from flow_edges import api_access, api_memory, api_state, api_telemetry
from flow_edges.resource import Reach, Resource, host_of, known_hosts
from flow_edges.routes import Route
from flowcore.access import Access, is_local
from flowcore.agents import Tool
from flowcore.assembly import Status
from flowcore.config import Address, Duration, setting
from flowcore.config import validators as v
from flowcore.errors import CallError, InvalidRequest, Unauthenticated, UnknownMethod, UnknownTarget
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.http import (
    Certificates,
    Limits,
    Request,
    Response,
    Send,
    Server,
    Stream,
    TlsSettings,
    measure_server,
    open_http_server,
)
from flowcore.interfaces import AgentView, Edge, Host
from flowcore.requests import Entry, Envelope, Principal, Priority, Task, tool_params
from flowcore.telemetry import Page, Reading, Span, SpanKind, Value, mcp_attributes

_T = TypeVar("_T")

ROUTES = (
    Route("GET", "/livez", open=True),
    Route("GET", "/readyz", open=True),
    Route("GET", "/livez/COMPONENT"),
    Route("GET", "/readyz/COMPONENT"),
    Route("GET", "/status"),
    Route("GET", "/agents"),
    Route("GET", "/agents/NAME"),
    Route("POST", "/agents/NAME/ACTION"),
    Route("GET", "/guards"),
    Route("POST", "/guards/NAME/ACTION"),
    Route("POST", "/memory/ACTION"),
    Route("GET", "/state"),
    Route("POST", "/members/ACTION"),
    Route("POST", "/log"),
    Route("POST", "/snapshot"),
    Route("GET", "/nodes"),
    Route("GET", "/tasks"),
    Route("GET", "/traces"),
    Route("GET", "/traces/ID"),
    Route("GET", "/events"),
    Route("GET", "/logs"),
    Route("POST", "/logs/level"),
    Route("GET", "/revocations"),
    Route("POST", "/revocations/ACTION"),
    Route("POST", "/drain"),
    Route("GET", "/tools"),
    Route("POST", "/call"),
)
"""All that it answers. Requests are dispatched by it, and nothing else."""
JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
FILE = [(b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")]
OPERATOR = Principal(name="operator", scheme="loopback")


@attrs.frozen(kw_only=True)
class ApiConfig:
    """Health, status and steering over HTTP, for flowctl and for machines that watch."""

    bind: Address = setting(Address("127.0.0.1", 7301), help="where to listen")
    public_url: str = setting(
        "",
        validator=v.matches(r"(https?://[^\s/?#@]+(/[^\s?#]*)?)?"),
        help="the URL under which it is reached, if it is another than that of `bind`: tokens must be meant"
        " for it",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), help="further host names under which it is reached"
    )
    tls: TlsSettings | None = setting(None, help="TLS 1.3; unset: plain HTTP")
    limits: Limits = setting(factory=Limits, help="what is taken, and how long is waited")
    drain: Duration = setting(1.0, help="how long requests may go on when the edge closes")


class CallBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of `POST /call`."""

    tool: str
    arguments: dict[str, msgspec.Raw] = {}
    deadline: float | None = None
    idempotency_key: str | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    affinity: str | None = None


class Api:
    """Answers requests about one host."""

    def __init__(self, host: Host, config: Reach, access: Access, edge: str) -> None:
        """`edge` is the edge's name in the configuration."""
        self._host = host
        self._access = access
        self._edge = edge
        self._hosts = known_hosts(config.bind.host, config.allowed_hosts)
        self.resource = Resource(
            config.bind,
            "/",
            public_url=config.public_url,
            hosts=config.allowed_hosts,
            local=is_local(config.bind.host) or config.bind.host == "localhost",
        )
        """The edge's own URI."""
        self._happening = api_telemetry.Events(host)
        answers: dict[str, _Answer] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/livez/COMPONENT": self._component,
            "/readyz/COMPONENT": self._component,
            "/status": self._status,
            "/agents": self._agents,
            "/agents/NAME": self._agent,
            "/agents/NAME/ACTION": self._steer,
            "/guards": self._guards,
            "/guards/NAME/ACTION": self._act,
            "/memory/ACTION": self._memory,
            "/state": self._state,
            "/members/ACTION": self._members,
            "/log": self._log,
            "/snapshot": self._snapshot,
            "/nodes": self._nodes,
            "/tasks": self._tasks,
            "/traces": self._traces,
            "/traces/ID": self._trace,
            "/events": self._events,
            "/logs": self._logs,
            "/logs/level": self._log_level,
            "/revocations": self._revocations,
            "/revocations/ACTION": self._revoke,
            "/drain": self._drain,
            "/tools": self._tools,
            "/call": self._call,
        }
        self._routes = {one.key: (one, answers[one.path]) for one in ROUTES}

    async def handle(self, request: Request) -> Response | Stream:
        """Answer one request; never raises for what a client did."""
        refusal = self._refused(request)
        return await self.answer(request, request.path) if refusal is None else refusal

    async def answer(self, request: Request, path: str) -> Response | Stream:
        """Answer a request for one of `ROUTES`, whoever may send it: who it is, is asked. Never raises."""
        return await self.guarded(partial(self._route, path=path), request)

    async def guarded(
        self, answer: Callable[[Request], Awaitable[_T]], request: Request
    ) -> _T | Response:
        """What `answer` gives, or what a client is told of the CallError it raises."""
        try:
            return await answer(request)
        except CallError as error:
            status = 502 if error.http_status == 200 else error.http_status
            retry = error.retry_after
            headers = [*JSON]
            if retry is not None:
                headers.append((b"retry-after", b"%d" % math.ceil(retry)))
            if isinstance(error, Unauthenticated):
                told = self._access.challenges
                headers += [(b"www-authenticate", one.encode()) for one in told]
            return Response(status, headers, msgspec.json.encode({"error": error.wire()}))

    def _refused(self, request: Request) -> Response | None:
        if b"origin" in request.headers:
            return problem(403, "requests of web pages are refused here")
        host = host_of(request)
        if host not in self._hosts:
            return problem(421, f"this server is not {host[:100]!r}")
        return None

    async def caller(self, request: Request) -> Principal:
        """Who asks. Raises CallError for who may not come in."""
        if not self._access.schemes:
            return OPERATOR
        return await self._access.identify(request, self.resource.uri(request))

    async def admit(self, request: Request, action: str, target: str = "") -> Principal:
        """Who asks for this, if they may have it. Raises CallError."""
        principal = await self.caller(request)
        self._host.requests.guards.admit(self._edge, principal, action, target)
        return principal

    async def _route(self, request: Request, path: str) -> Response | Stream:
        parts = path.strip("/").split("/")
        found = self._routes.get((len(parts), parts[0]))
        if found is None:
            page = self._host.telemetry.pages.get(path)
            if page is not None:
                return await self._page(request, path, page)
        if found is None or path != "/" + "/".join(parts):
            return problem(404, f"there is nothing at {request.path[:200]!r}")
        route, answer = found
        if request.method != route.method and not (
            route.method == "GET" and request.method == "HEAD"
        ):
            response = problem(405, f"{request.path[:200]} is for {route.method}")
            response.headers = [*response.headers, (b"allow", route.method.encode())]
            return response
        return await answer(request, parts)

    async def _page(
        self, request: Request, path: str, page: Callable[[str], Awaitable[Page]]
    ) -> Response:
        """What an exporter has to be fetched."""
        if request.method not in ("GET", "HEAD"):
            return problem(405, f"{request.path[:200]} is for GET")
        await self.admit(request, "metrics", path)
        given = await page(request.headers.get(b"accept", b"").decode("latin-1"))
        headers = [(b"content-type", given.content_type.encode()), (b"cache-control", b"no-store")]
        return Response(200, headers, given.body)

    async def _livez(self, request: Request, parts: list[str]) -> Response:
        del request, parts
        return _json({"live": True})

    async def _readyz(self, request: Request, parts: list[str]) -> Response:
        del request, parts
        ready = self._host.ready
        body: dict[str, Any] = {"ready": ready, "draining": self._host.draining.is_set()}
        if not self._access.schemes:  # who has not said who they are is told no more
            now = trio.current_time()
            components = self._host.components()
            body["unwell"] = [one.asdict(now) for one in components if one.status is not Status.OK]
        return _json(body, 200 if ready else 503)

    async def _component(self, request: Request, parts: list[str]) -> Response:
        """Whether one component lives, or is ready for work."""
        await self.admit(request, "status", parts[1])
        one = next((one for one in self._host.components() if one.component == parts[1]), None)
        if one is None:
            raise NotThere(f"there is no component {parts[1][:200]!r}")
        live = one.status not in (Status.FAILED, Status.STOPPED)
        ready = one.status in (Status.OK, Status.DEGRADED) and not self._host.draining.is_set()
        well = live if parts[0] == "livez" else ready
        told = {"live": live, "ready": ready, **one.asdict(trio.current_time())}
        return _json(told, 200 if well else 503)

    async def _status(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "status")
        return _json(self._host.status())

    async def _agents(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "agents")
        status = self._host.status()
        return _json({"agents": status["agents"], "elsewhere": status["elsewhere"]})

    async def _agent(self, request: Request, parts: list[str]) -> Response:
        await self.admit(request, "agents", parts[1])
        return _json(self._find(parts[1]).status())

    def _find(self, name: str) -> AgentView:
        try:
            return self._host.agent(name)
        except UnknownTarget as error:
            raise NotThere(error.message, data=error.data) from None

    async def _steer(self, request: Request, parts: list[str]) -> Response:
        await self.admit(request, f"agents.{parts[2]}", parts[1])
        agent = self._find(parts[1])
        steps: dict[str, Callable[[], None]] = {
            "pause": agent.pause,
            "resume": agent.resume,
            "restart": agent.restart,
        }
        step = steps.get(parts[2])
        if step is None:
            raise NotThere(f"an agent can be told {', '.join(steps)}, not {parts[2][:100]!r}")
        step()
        return _json({"agent": agent.name, "done": parts[2], "state": agent.state.value})

    async def _guards(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "guards")
        return _json({"guards": self._host.status()["guards"]})

    async def _act(self, request: Request, parts: list[str]) -> Response:
        _, name, action = parts
        principal = await self.admit(request, f"guards.{action}", name)
        try:
            arguments = msgspec.json.decode(request.body or b"{}", type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"expected arguments as a JSON object: {error}") from None
        try:
            done = self._host.guard(name).act(action, arguments)
        except UnknownTarget as error:
            raise NotThere(error.message, data=error.data) from None
        said = " ".join(f"{key}={value}" for key, value in arguments.items())
        if said:  # admitted was the action; here is what it was done to
            guards = self._host.requests.guards
            guards.done(self._edge, principal, f"guards.{action}", f"{name} {said}")
        return _json({"guard": name, "done": action, "result": done})

    async def _memory(self, request: Request, parts: list[str]) -> Response:
        await self.admit(request, f"memory.{parts[1]}")
        action = api_memory.ACTIONS.get(parts[1])
        if action is None:
            known = ", ".join(api_memory.ACTIONS)
            raise NotThere(f"memory can be told {known}, not {parts[1][:100]!r}")
        return _json(await action(self._host, request.body))

    async def _state(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "state")
        return _json(await api_state.show(self._host))

    async def _members(self, request: Request, parts: list[str]) -> Response:
        principal = await self.admit(request, f"members.{parts[1]}")
        action = api_state.MEMBERS.get(parts[1])
        if action is None:
            known = ", ".join(api_state.MEMBERS)
            raise NotThere(f"members can be told {known}, not {parts[1][:100]!r}")
        body = api_state.checked(parts[1], request.body)
        await action(api_state.state_of(self._host), body)
        done = " ".join([*body.nodes, *(f"remove={name}" for name in body.remove)])
        self._host.requests.guards.done(self._edge, principal, f"members.{parts[1]}", done)
        return _json({"done": parts[1], **await api_state.show(self._host)})

    async def _log(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "log")
        return _json(await api_state.log(self._host, request.body))

    async def _snapshot(self, request: Request, parts: list[str]) -> Stream:
        del parts
        await self.admit(request, "snapshot")
        api_state.state_of(self._host)  # or there is none, and that is the answer

        async def run(send: Send) -> None:
            async with api_state.saved(self._host) as pieces:
                async for piece in pieces:
                    await send(piece)

        return Stream(200, FILE, run)

    async def _nodes(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "nodes")
        return _json(await self._host.ask_nodes())

    async def _tasks(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "tasks")
        now = trio.current_time()
        entries = [
            request_line(one, now)
            for one, _ in zip(self._host.requests.tracker.entries(), range(1000), strict=False)
        ]
        tasks = self._host.requests.tasks
        body = {
            "requests": entries,
            "tasks": [_task(one, now) for one in tasks.list()[:1000]],
            "kept": await self._host.kept_tasks(1000),
            "statistics": attrs.asdict(tasks.statistics()),
        }
        return _json(body)

    async def _traces(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "traces")
        return _json(api_telemetry.traces(self._host, request.query))

    async def _trace(self, request: Request, parts: list[str]) -> Response:
        await self.admit(request, "traces", parts[1])
        try:
            return _json(await self._host.trace(parts[1]))
        except UnknownTarget as error:
            raise NotThere(error.message, data=error.data) from None

    async def _events(self, request: Request, parts: list[str]) -> Stream:
        del parts
        await self.admit(request, "events")
        activity = "activity=1" in request.query.split("&")
        return self._happening.stream(request.draining, activity=activity)

    async def _logs(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "logs")
        return _json(api_telemetry.levels())

    async def _log_level(self, request: Request, parts: list[str]) -> Response:
        if parts[1] != "level":
            raise NotThere(f"logs can be told level, not {parts[1][:100]!r}")
        principal = await self.admit(request, "logs.level")
        answer, done = api_telemetry.set_level(request.body)
        self._host.requests.guards.done(self._edge, principal, "logs.level", done)
        return _json(answer)

    async def _revocations(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "revocations")
        return _json({"revocations": await self._host.revocations()})

    async def _revoke(self, request: Request, parts: list[str]) -> Response:
        principal = await self.admit(request, f"revocations.{parts[1]}")
        action = api_access.REVOCATIONS.get(parts[1])
        if action is None:
            known = ", ".join(api_access.REVOCATIONS)
            raise NotThere(f"revocations can be told {known}, not {parts[1][:100]!r}")
        done, id_ = await action(self._host, request.body)
        guards = self._host.requests.guards
        guards.done(self._edge, principal, f"revocations.{parts[1]}", id_)
        return _json(done)

    async def _drain(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self.admit(request, "drain")
        self._host.retire()
        return _json({"draining": True, "running": self._host.requests.tracker.running})

    async def _tools(self, request: Request, parts: list[str]) -> Response:
        del parts
        principal = await self.caller(request)
        listing = self._host.directory.listing("tools")
        guards = self._host.requests.guards
        tools = [
            {"name": one.name, "agent": one.agent}
            for one in listing.entries
            if isinstance(one.offer, Tool)
            and guards.shows(self._edge, principal, one.agent, "tools", one.offer.name)
        ]
        return _json({"tools": tools, "missing": list(listing.missing)})

    async def _call(self, request: Request, parts: list[str]) -> Response:
        del parts
        principal = await self.caller(request)
        kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return problem(415, "expected application/json")
        try:
            body = msgspec.json.decode(request.body, type=CallBody)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"expected a call as JSON: {error}") from None
        if body.deadline is not None and not 0 < body.deadline < math.inf:
            raise InvalidRequest("expected a deadline of more than 0 seconds")
        envelope = Envelope(
            agent="",
            name=body.tool,
            params=tool_params(body.tool, body.arguments),
            deadline=math.inf if body.deadline is None else trio.current_time() + body.deadline,
            explicit=body.deadline is not None,
            idempotency_key=body.idempotency_key,
            priority=Priority[body.priority.upper()],
            affinity=None if body.affinity is None else body.affinity.encode(),
            principal=principal,
            edge=self._edge,
            client=self._access.address(request),
        )
        try:
            target = self._host.directory.resolve("tools", body.tool)
        except CallError as error:
            self._host.requests.guards.stray(envelope, error)
            raise
        envelope.agent, envelope.name = target.agent, target.name
        envelope.params = tool_params(target.name, body.arguments)
        span = envelope.span = self._begin(request, envelope)
        try:
            reply = await self._host.submit(envelope)
        except CallError as error:
            if span is not None:
                span.failed_by(error)
                span.note(**{"http.response.status_code": error.http_status})
            raise
        finally:
            if span is not None:
                span.finish(trio.current_time())
        told = b'"id":"%b"' % envelope.id.encode()
        if span is not None:
            told += b',"trace":"%b"' % span.trace.id.encode()
        return Response(200, JSON, b'{%b,"result":%b}' % (told, reply.result))

    def _begin(self, request: Request, envelope: Envelope) -> Span | None:
        """What is recorded of a call; part of the trace that its headers say."""
        tracer = self._host.telemetry.tracer
        if tracer is None:
            return None
        said = request.headers.get(b"traceparent")
        parent = None
        if said is not None:
            state = request.headers.get(b"tracestate", b"")
            parent = tracer.parent_of(said.decode("latin-1"), state.decode("latin-1"))
        return tracer.begin(
            "POST /call", SpanKind.SERVER, trio.current_time(), _described, envelope, parent=parent
        )


_Answer = Callable[[Request, list[str]], Awaitable[Response | Stream]]


class NotThere(UnknownMethod):
    """What the path speaks of does not exist."""


def request_line(entry: Entry, now: float) -> dict[str, Any]:
    """A request for an operator."""
    return {
        "id": entry.id,
        "agent": entry.agent,
        "name": entry.name,
        "principal": entry.principal,
        "state": "running" if entry.outcome is None else entry.outcome.value,
        "error": entry.error,
        "seconds": round((now if entry.outcome is None else entry.ended) - entry.accepted, 6),
        "ago": round(now - entry.accepted, 3),
    }


def _task(task: Task, now: float) -> dict[str, Any]:
    """A task for an operator; by its request's id, since its own is its owner's to know."""
    return {
        "request": task.request,
        "agent": task.agent,
        "name": task.name,
        "principal": task.owner[1],
        "scheme": task.owner[0],
        "state": task.state.value,
        "message": task.message,
        "seconds": round((now if task.ended is None else task.ended) - task.began, 6),
        "ago": round(now - task.began, 3),
    }


def _described(span: Span) -> dict[str, Value]:
    """What the span of a call says."""
    envelope: Envelope = span.about  # type: ignore[assignment]
    return {
        **mcp_attributes(envelope.method, envelope.name),
        "http.request.method": "POST",
        "http.route": "/call",
        "client.address": envelope.client,
        "flowcore.edge": envelope.edge,
        "flowcore.principal": envelope.principal.name[:1024],
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, JSON, msgspec.json.encode(value))


def problem(status: int, text: str) -> Response:
    """A refusal, with why."""
    return _json({"error": {"message": text}}, status)


@attrs.frozen
class ApiEdge:
    """What the edge yields."""

    endpoints: tuple[str, ...]
    _server: Server

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        return measure_server(self._server.statistics(), name)


@asynccontextmanager
async def open_api(config: ApiConfig, context: Context) -> AsyncGenerator[Edge]:
    """Listen, and answer about the flow."""
    api = Api(context.host, config, context.access, context.name.removeprefix("edge."))
    tls = None if config.tls is None else Certificates(config.tls, context.config_dir)
    admits = None if tls is None else context.access.admitting(tls.admits)
    async with open_http_server(
        api.handle, config.bind, limits=config.limits, context=tls, admits=admits
    ) as server:
        api.resource.port = server.addresses[0].port
        scheme = "https" if server.secure else "http"
        yield ApiEdge(tuple(f"{scheme}://{address}" for address in server.addresses), server)
        await server.drain(config.drain)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "edge",
            "api",
            ApiConfig,
            open_api,
            stability="beta",
            claims=lambda config: config.bind.claims(),
            exposed=lambda config: config.bind.host,
        )
    )
