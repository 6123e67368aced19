"""The MCP server that a flow is, whatever the transport: requests become envelopes, replies results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.client import OFF, Caller, Client
from flow_edges.mcp.exposure import EXPOSURES
from flow_edges.mcp.lists import Lists
from flow_edges.mcp.parameters import (
    check_progress_token,
    must_be_object,
    patience,
    priority,
    reference,
)
from flow_edges.mcp.peers import SILENT
from flow_edges.mcp.recorded import Headers, Recorder
from flow_edges.mcp.results import Results, explained
from flow_edges.mcp.settings import McpSettings, ServiceSettings
from flow_edges.mcp.sight import Sight
from flow_edges.mcp.tasks import TaskFace
from flow_edges.mcp.tools import KnownTools
from flowcore.agents import Target
from flowcore.assembly import BUILTIN, MEMORY
from flowcore.errors import (
    CallError,
    InvalidArguments,
    SchemaViolation,
    UnknownMethod,
    UnknownTarget,
    UpstreamError,
)
from flowcore.interfaces import Host
from flowcore.mcp import (
    EXPLAINING,
    METHODS,
    MODERN,
    Method,
    UnsupportedVersion,
    handshake_result,
    implementation,
    server_capabilities,
    text_member,
)
from flowcore.mcp.meta import (
    AFFINITY,
    DEADLINE,
    IDEMPOTENCY_KEY,
    LOG_LEVEL,
    PRIORITY,
    PROGRESS_TOKEN,
)
from flowcore.requests import MOST_TEXT, Envelope, Priority, complete, key_of_round
from flowcore.telemetry import TRACEPARENT, TRACESTATE, Noted, Span

_KINDS: dict[str, Literal["tools", "resources", "prompts"]] = {
    "tools/call": "tools",
    "resources/read": "resources",
    "prompts/get": "prompts",
}
_OWN = frozenset({BUILTIN, MEMORY})
"""The agents whose tools take apart their arguments themselves."""
_NORMAL = Priority.NORMAL  # looking it up costs on every call
_OURS = frozenset({AFFINITY, DEADLINE, PRIORITY, PROGRESS_TOKEN, IDEMPOTENCY_KEY})
"""What `_meta` may say of how a request is to be worked on."""
_SPECIAL = frozenset({TRACEPARENT, TRACESTATE, PRIORITY, IDEMPOTENCY_KEY})
"""Without these a request begins its trace, and is done as all are: it is noted, as long as it is an ordinary
one."""
_EITHER = _OURS | _SPECIAL
_encode = msgspec.json.encode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Service:
    """What both transports serve. One per edge."""

    def __init__(self, host: Host, settings: ServiceSettings, edge: str) -> None:
        """`edge` is the edge's name in the configuration."""
        self.host = host
        self._guards = host.requests.guards
        self.edge = edge
        self.settings = settings
        self.server = implementation("flowcore", title=settings.title)
        self.results = Results(self.server)
        self.sight = Sight(host, edge)
        self.exposure = EXPOSURES[settings.expose]
        self._instructions = settings.instructions or self.exposure.instructions
        self.lists = Lists(
            host.directory,
            sight=self.sight,
            server=self.server,
            page_size=settings.page_size,
            ttl_ms=round(settings.list_ttl * 1000),
            exposure=self.exposure,
        )
        self.tools = KnownTools()
        self._now = (
            trio.lowlevel.current_clock().current_time
        )  # trio.current_time, less its detours
        tracer = host.telemetry.tracer
        transport = "tcp" if isinstance(settings, McpSettings) else "pipe"
        self._tracer = tracer
        self.recorder = Recorder(tracer, edge, transport, self._now)
        self._telling = self.recorder.telling
        """Who records requests, while they are."""
        self.tasks = TaskFace(
            host,
            self.tools,
            self.results,
            self.recorder,
            deadline=settings.deadline,
            after=settings.task_after,
        )
        self._discovery = self._discover()

    # ---- limits

    def knock(self, caller: Caller) -> None:
        """Let a caller's request be looked at. Raises CallError to refuse it, whatever it is."""
        for guard in self._guards.knocking(self.edge):
            guard.knock(caller.principal, self._now())

    def attend(self, caller: Caller | Client) -> None:
        """Let a caller be answered by the edge itself. Raises CallError to refuse it."""
        self._guards.attend(self.edge, caller.principal, trio.current_time())

    # ---- what needs no agent

    def recording(
        self,
        method: str,
        params: Mapping[str, Raw],
        meta: Mapping[str, Raw],
        client: Client,
        trace: Headers | None,
    ) -> AbstractContextManager[Span | None]:
        """Within this block a request is answered that is for no agent, or not yet; it is recorded."""
        if not self._tracer.enabled:
            return nullcontext()
        return self.recorder.recording(method, params, meta, client, trace)

    def initialized(self, version: str) -> bytes:
        """The result of `initialize`."""
        result: dict[str, Any] = {
            "protocolVersion": version,
            "capabilities": _capabilities(modern=False),
            "serverInfo": Raw(self.server),
        }
        if self._instructions:
            result["instructions"] = self._instructions
        return _encode(result)

    def discovery(self) -> bytes:
        """The result of `server/discover`."""
        return self._discovery

    def _discover(self) -> bytes:
        result: dict[str, Any] = {
            "supportedVersions": list(MODERN),
            "capabilities": _capabilities(modern=True),
        }
        if self._instructions:
            result["instructions"] = self._instructions
        ttl = round(self.settings.list_ttl * 1000)
        return self.results.stamp.modern(_encode(result), ttl_ms=ttl, scope="public")

    def listed(self, method: str, params: dict[str, Raw], client: Client) -> bytes:
        """The result of a list method. Raises InvalidArguments for a bad cursor."""
        return self.lists.result(
            method,
            text_member(params, "cursor"),
            modern=client.modern,
            principal=client.principal,
        )

    # ---- requests that agents answer

    def target(
        self,
        method: Method,
        params: dict[str, Raw],
        client: Client,
        meta: dict[str, Raw],
        trace: Headers | None = None,
    ) -> Target:
        """Whom a request is for. Raises CallError if it is not well formed, or names nobody's offer."""
        try:
            return self._target(method, params, client)
        except CallError as error:
            if self._tracer.enabled:
                span = self.recorder.begin(method.name, "", meta, client, trace)
                self.recorder.ended(span, error)
            raise

    def _target(self, method: Method, params: dict[str, Raw], client: Client) -> Target:
        assert method.subject is not None
        subject = text_member(params, method.subject)
        if subject is None:
            raise InvalidArguments(f"params.{method.subject} is missing")
        if method.name != "resources/read":
            must_be_object(params, "arguments")
        try:
            kind = _KINDS[method.name]
            meant = self.exposure.meant(kind, subject)
            return self._resolve(method.name, kind, meant, params, client)
        except UnknownTarget as error:
            if method.name == "resources/read":
                raise UnknownTarget("resource not found", data={"uri": subject}) from None
            if self.sight.view(client.principal) is None:
                raise
            what = _KINDS[method.name].removesuffix("s")  # no hint at what is not shown
            raise UnknownTarget(f"unknown {what} {subject[:200]!r}", data=error.data) from None

    def _resolve(
        self,
        method: str,
        kind: Literal["tools", "resources", "prompts"],
        name: str,
        params: dict[str, Raw],
        client: Client,
    ) -> Target:
        """Whose an offer is. Raises CallError if it is nobody's now, and tells the guards."""
        try:
            return self.host.directory.resolve(kind, name)
        except CallError as error:
            stray = Envelope(
                method=method,
                agent="",
                name=name,
                params=params,
                principal=client.principal,
                deadline=trio.current_time(),
                edge=self.edge,
                client=client.address,
            )
            self._guards.stray(stray, error)
            raise

    def envelope(
        self,
        method: Method,
        target: Target,
        params: dict[str, Raw],
        meta: dict[str, Raw],
        client: Client,
        key: bytes | None = None,
        trace: Headers | None = None,
    ) -> Envelope:
        """The request as it travels; its peer is silent until it is given another.

        `key` is an idempotency key, `trace` the trace context, from outside `_meta`. Raises
        InvalidArguments.
        """
        assert method.subject is not None
        if bytes(params[method.subject]) != bytes(target.raw):
            params = {**params, method.subject: target.raw}
        text = None if key is None else key.decode("latin-1")
        now = self._now()
        plain = _EITHER.isdisjoint(meta)  # most are: looked at once
        envelope = self._sealed(
            now, method.name, target.agent, target.name, params, meta, client, text, plain=plain
        )
        tracer = self._tracer
        if tracer.enabled:
            if (
                trace is None
                and key is None
                and (plain or _SPECIAL.isdisjoint(meta))
                and not tracer.content
                and len(target.name) <= MOST_TEXT
            ):
                envelope.noted = Noted(
                    envelope.id,
                    target.agent,
                    method.name,
                    target.name,
                    client.principal.name[:MOST_TEXT],
                    now,
                    envelope.deadline,
                    self.edge,
                    opening=self._telling,
                    version=client.version,
                    address=client.address,
                    start=now,
                    sampled=envelope.id < tracer.first,
                )
            else:
                envelope.span = self.recorder.begin(method.name, target.name, meta, client, trace)
        return envelope

    def _sealed(
        self,
        now: float,
        method: str,
        agent: str,
        name: str,
        params: dict[str, Raw],
        meta: dict[str, Raw],
        client: Client,
        key: str | None = None,
        *,
        plain: bool = False,
    ) -> Envelope:
        """`plain`: nothing of `_OURS` is in `meta`."""
        seconds = self.settings.deadline
        importance = _NORMAL
        affinity = client.affinity
        if not plain and not _OURS.isdisjoint(meta):
            if AFFINITY in meta:
                affinity = (text_member(meta, AFFINITY) or "").encode()
            if DEADLINE in meta:
                seconds = min(seconds, patience(meta))
            if PRIORITY in meta:
                importance = priority(meta)
            if PROGRESS_TOKEN in meta:
                check_progress_token(meta)
            if IDEMPOTENCY_KEY in meta:
                key = text_member(meta, IDEMPOTENCY_KEY)
        if key is not None:
            key = key_of_round(key, params)
        if client.level is not None and client.level is not OFF and LOG_LEVEL not in meta:
            meta = {**meta, LOG_LEVEL: Raw(_encode(client.level))}
        return Envelope(
            method=method,
            agent=agent,
            name=name,
            params=params,
            meta=meta,
            principal=client.principal,
            deadline=now + seconds,
            explicit=DEADLINE in meta,
            priority=importance,
            idempotency_key=key,
            affinity=affinity,
            edge=self.edge,
            client=client.address,
            modern=client.modern,
            peer=SILENT,
        )

    def completion(
        self, params: dict[str, Raw], meta: dict[str, Raw], client: Client
    ) -> Envelope | None:
        """The envelope of `completion/complete`; None if the agent asked about completes nothing."""
        ref = reference(params)
        if ref.type == "ref/prompt" and ref.name is not None:
            target = self._resolve("completion/complete", "prompts", ref.name, params, client)
            agent, name = target.agent, target.name
            if name != ref.name:
                again = _decode_members(params["ref"])
                again["name"] = Raw(_encode(name))
                params["ref"] = Raw(_encode(again))
        elif ref.type == "ref/resource" and ref.uri is not None:
            agent, name = self._of_template(ref.uri), ref.uri
        else:
            raise InvalidArguments(
                "params.ref must be a ref/prompt with name or a ref/resource with uri"
            )
        if not self.host.directory.by_name(agent).catalog.completions:
            return None
        now = self._now()
        return self._sealed(now, "completion/complete", agent, name, params, meta, client)

    def _of_template(self, uri: str) -> str:
        for entry in self.host.directory.listing("templates").entries:
            if entry.name == uri:
                return entry.agent
        return self.host.directory.resolve("resources", uri).agent

    async def submit(self, envelope: Envelope, method: Method, client: Client) -> bytes:
        """Have an envelope worked on; its result in the form of the asking side's era. Raises CallError."""
        if envelope.noted is None and envelope.span is None:
            return await self._submit(envelope, method, client)
        try:
            result = await self._submit(envelope, method, client)
        except BaseException as error:
            self.recorder.done(envelope, error)
            raise
        noted = envelope.noted
        if noted is not None and noted.answered:
            now = self._now  # what is no method of its class is called quicker as a name
            self._tracer.noted(noted, now())
        else:
            self.recorder.done(envelope)
        return result

    async def _submit(self, envelope: Envelope, method: Method, client: Client) -> bytes:
        try:
            reply = await self.host.submit(envelope)
            if envelope.modern:
                return self.results.modern(reply, method, envelope.peer.capabilities)
            if not reply.modern:
                return bytes(reply.result)
            whole = await complete(
                self.host.submit, envelope, reply, deadline=self.settings.deadline
            )
            return handshake_result(whole.result)
        except InvalidArguments as problem:
            # what a model can do better is told to it as a result: to clients an error is a fault of theirs
            told = isinstance(problem, SchemaViolation) or envelope.agent in _OWN
            if not told or client.version not in EXPLAINING:
                raise
            result = explained(problem).result
            return self.results.stamp.modern(result) if client.modern else bytes(result)
        except UpstreamError as error:
            if not envelope.modern:
                raise
            return self.results.asked_by(error, envelope.peer.capabilities)

    async def complete(
        self,
        params: dict[str, Raw],
        meta: dict[str, Raw],
        client: Client,
        trace: Headers | None = None,
    ) -> bytes:
        """The result of `completion/complete`. Raises CallError."""
        with self.recording("completion/complete", params, meta, client, trace) as span:
            return await self._complete(params, meta, client, span)

    async def _complete(
        self, params: dict[str, Raw], meta: dict[str, Raw], client: Client, span: Span | None
    ) -> bytes:
        envelope = self.completion(params, meta, client)
        if envelope is not None:
            envelope.span = span
            return await self._submit(envelope, METHODS["completion/complete"], client)
        nothing = b'{"completion":{"values":[],"total":0,"hasMore":false}}'
        return self.results.stamp.modern(nothing) if client.modern else nothing


def supported(method: str, *, modern: bool) -> Method:
    """The method by its name. Raises UnknownMethod if the era does not know it."""
    known = METHODS.get(method)
    if known is None or not (known.modern if modern else known.handshake):
        raise UnknownMethod(f"unknown method {method[:200]!r}", data={"method": method[:200]})
    return known


def check_version(requested: str) -> None:
    """Raises UnsupportedVersion if it is not one of 2026-07-28 and later that we know."""
    if requested not in MODERN:
        raise UnsupportedVersion(requested[:100], MODERN)


def _capabilities(*, modern: bool) -> dict[str, Any]:
    return server_capabilities(
        modern=modern, completions=True, logging=True, subscribe=True, tasks=True
    )
