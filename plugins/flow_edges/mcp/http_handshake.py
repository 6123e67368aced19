"""HTTP for clients that shook hands: sessions, requests with or without one, the GET stream, batches."""

from __future__ import annotations

import logging

import trio
from msgspec import Raw

from flow_edges.mcp.batches import answer_batch
from flow_edges.mcp.guard import JSON, accepts, refused
from flow_edges.mcp.handshake import answer, stateless_client
from flow_edges.mcp.outbox import Outbox
from flow_edges.mcp.replies import EVENTS, accepted, answered, failed, send_alive, succeeded
from flow_edges.mcp.service import supported
from flow_edges.mcp.sessions import Session, Sessions
from flow_edges.mcp.settings import McpSettings
from flow_edges.mcp.shared import Shared
from flowcore.errors import CallError, InternalError, InvalidRequest
from flowcore.http import Request, Response, Send, Stream
from flowcore.mcp import (
    BATCHES,
    UNDECLARED,
    Message,
    Notification,
    decode_batch,
)
from flowcore.mcp import Request as Asked
from flowcore.mcp import Response as Answer
from flowcore.mcp.headers import SESSION, VERSION
from flowcore.requests import Principal

logger = logging.getLogger(__name__)


class HandshakeHttp:
    """Serves clients of versions up to 2025-11-25 over HTTP."""

    def __init__(self, shared: Shared, settings: McpSettings) -> None:
        self._shared = shared
        self._service = shared.service
        self._keep_alive = settings.keep_alive
        self._limits = settings.limits
        self._sessionless = settings.sessions.max == 0
        self.sessions = Sessions(settings.sessions)

    async def post(
        self, request: Request, message: Message, meta: dict[str, Raw], principal: Principal
    ) -> Response | Stream:
        """The answer to one message; `meta` was taken out of its params."""
        session_id = request.headers.get(SESSION)
        session = None
        if session_id is not None:
            session = self.sessions.find(session_id, principal.owner)
            if session is None:
                return refused(404, "no such session: send initialize again")
        if type(message) is Asked:
            try:
                return await self._request(request, session, message, meta, principal)
            except CallError as error:
                return failed(message.id, error, modern=False, status=200)
            except Exception:
                logger.exception("a request failed within the edge")
                return failed(message.id, InternalError("internal error"), status=200)
        self._heed(session, message)
        return accepted()

    def _heed(self, session: Session | None, message: Message) -> None:
        """Take what wants no answer."""
        if session is not None:
            if isinstance(message, Answer):
                session.conversation.answer(message)  # a late one is nobody's any more
            elif isinstance(message, Notification) and message.method == "notifications/cancelled":
                session.conversation.cancel(message.params)

    async def _request(
        self,
        request: Request,
        session: Session | None,
        message: Asked,
        meta: dict[str, Raw],
        principal: Principal,
    ) -> Response | Stream:
        name, params = message.method, message.params
        if session is None and name == "initialize":
            return self._initialize(message, principal)
        method = supported(name, modern=False)
        conversation = None if session is None else session.conversation
        if conversation is None:
            client = stateless_client(
                request.headers.get(VERSION, b"").decode("latin-1"), principal
            )
        else:
            client = conversation.client
        if not method.asks:
            result = await answer(self._service, conversation, name, params, meta, client)
            return succeeded(message.id, result)
        target = self._service.target(method, params)
        envelope = self._service.envelope(
            method, target, params, meta, client, request.headers.get(b"idempotency-key")
        )
        if self._shared.speaks(envelope, client):
            exchange = self._shared.start_for(conversation, message.id, envelope, method, client)
            return await answered(exchange, modern=False, keep_alive=self._keep_alive)
        if conversation is None:
            return succeeded(message.id, await self._service.submit(envelope, method))
        with trio.CancelScope() as scope:
            conversation.begin(message.id, scope)
            try:
                return succeeded(message.id, await self._service.submit(envelope, method))
            finally:
                conversation.ended(message.id)
        return accepted()  # the client itself cancelled it and waits for nothing

    def _initialize(self, message: Asked, principal: Principal) -> Response:
        conversation = self._shared.converse(message.params, principal)
        response = succeeded(message.id, self._service.initialized(conversation.version))
        if self._sessionless:
            conversation.close()
            return response
        session = self.sessions.open(conversation)
        response.headers = (*JSON, (SESSION, session.id.encode()))
        return response

    # ---- the stream of a session

    def open_or_end(self, request: Request, principal: Principal) -> Response | Stream:
        """GET opens the session's stream, DELETE ends the session."""
        session = self.sessions.find(request.headers[SESSION], principal.owner)
        if session is None:
            return refused(404, "no such session: send initialize again")
        if request.method == "DELETE":
            self.sessions.close(session)
            return Response(204)
        if not accepts(request.headers.get(b"accept", b"*/*"), b"text/event-stream"):
            return refused(406, "the client must accept text/event-stream")
        if session.stream is not None:
            return refused(409, "this session has its stream open already")
        if self._shared.hub.streams >= self._limits.streams:
            return refused(429, "too many streams are open", (b"retry-after", b"1"))
        return self._stream(session, request.draining)

    def _stream(self, session: Session, draining: trio.Event) -> Stream:
        outbox = session.stream = Outbox(self._limits.backlog)
        session.conversation.outlet = outbox.put_once
        self._shared.hub.streams += 1

        def close() -> None:
            self._shared.hub.streams -= 1
            session.conversation.outlet = None
            session.stream = None
            session.used = trio.current_time()

        async def run(send: Send) -> None:
            await send(b": open\n\n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_close_on, draining, outbox)
                broken = await _until_gone(send, outbox, self._keep_alive)
                nursery.cancel_scope.cancel()
            if broken is not None:
                raise broken

        return Stream(200, EVENTS, run, close=close)

    # ---- batches

    async def batch(self, request: Request, principal: Principal) -> Response:
        """The answer to a JSON-RPC batch, which 2025-03-26 alone knows: one JSON array."""
        session_id, session = request.headers.get(SESSION), None
        if session_id is not None:
            session = self.sessions.find(session_id, principal.owner)
            if session is None:
                return refused(404, "no such session: send initialize again")
        version = request.headers.get(VERSION, b"").decode("latin-1")
        if session is not None:
            version = version or session.conversation.version
        if (version or UNDECLARED) not in BATCHES:
            return failed(None, InvalidRequest("batches are not supported"), status=400)
        try:
            messages = decode_batch(
                request.body, limit=self._limits.batch, depth=self._limits.nesting
            )
        except CallError as error:
            return failed(None, error, status=400)
        body = await answer_batch(
            self._service,
            None if session is None else session.conversation,
            messages,
            principal,
            lambda message: self._heed(session, message),
        )
        return accepted() if body is None else Response(200, JSON, body)


async def _until_gone(
    send: Send, outbox: Outbox, keep_alive: float
) -> trio.BrokenResourceError | None:
    try:
        while await send_alive(send, outbox.take, keep_alive):
            pass
    except trio.BrokenResourceError as error:
        return error
    return None


async def _close_on(event: trio.Event, outbox: Outbox) -> None:
    await event.wait()
    outbox.close()
