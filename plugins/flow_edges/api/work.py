"""Requests: those under way and those that ended, and calling a tool."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import attrs
import msgspec
import trio

from flow_edges.api.answers import JSON, Answer, as_json, problem, read_body
from flow_edges.api.door import Door
from flowcore.agents import Tool
from flowcore.errors import CallError, InvalidRequest
from flowcore.http import Request, Response
from flowcore.mcp import LARGE
from flowcore.requests import Entry, Envelope, Priority, Task, tool_params
from flowcore.telemetry import Span, SpanKind, Value, mcp_attributes


class CallBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of `POST /call`."""

    tool: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    """An object, as it came: it may be large, and is not copied."""
    deadline: float | None = None
    idempotency_key: str | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    affinity: str | None = None


class Work:
    """Answers about requests, and does some."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._host = door.host

    @property
    def answers(self) -> dict[str, Answer]:
        """By the paths of `ROUTES`."""
        return {
            "/tasks": self._tasks,
            "/tools": self._tools,
            "/call": self._call,
        }

    async def _tasks(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "tasks")
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
        return as_json(body)

    async def _tools(self, request: Request, parts: list[str]) -> Response:
        del parts
        principal = await self._door.caller(request)
        listing = self._host.directory.listing("tools")
        guards = self._host.requests.guards
        tools = [
            {"name": one.name, "agent": one.agent}
            for one in listing.entries
            if isinstance(one.offer, Tool)
            and guards.shows(self._door.edge, principal, one.agent, "tools", one.offer.name)
        ]
        return as_json({"tools": tools, "missing": list(listing.missing)})

    async def _call(self, request: Request, parts: list[str]) -> Response:
        del parts
        principal = await self._door.caller(request)
        kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return problem(415, "expected application/json")
        read = partial(read_body, request.body, CallBody, "a call as JSON")
        body = await trio.to_thread.run_sync(read) if len(request.body) > LARGE else read()
        if memoryview(body.arguments)[0] != ord("{"):
            raise InvalidRequest("expected a call as JSON: Expected `object` - at `$.arguments`")
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
            edge=self._door.edge,
            client=self._door.access.address(request),
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
            told += b',"trace":"%b"' % span.trace.trace_id.encode()
        return Response(200, JSON, b'{%b,"result":%b}' % (told, reply.result))

    def _begin(self, request: Request, envelope: Envelope) -> Span | None:
        """What is recorded of a call; part of the trace that its headers say."""
        tracer = self._host.telemetry.tracer
        if not tracer.enabled:
            return None
        said = request.headers.get(b"traceparent")
        parent = None
        if said is not None:
            state = request.headers.get(b"tracestate", b"")
            parent = tracer.parent_of(said.decode("latin-1"), state.decode("latin-1"))
        about = (envelope.name, envelope.client, envelope.edge, envelope.principal.name[:1024])
        return tracer.begin(
            "POST /call", SpanKind.SERVER, trio.current_time(), _described, about, parent=parent
        )


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
    about: tuple[str, str, str, str] = span.about  # type: ignore[assignment]
    name, client, edge, principal = about
    return {
        **mcp_attributes("tools/call", name),
        "http.request.method": "POST",
        "http.route": "/call",
        "client.address": client,
        "flowcore.edge": edge,
        "flowcore.principal": principal,
    }
