"""HTTP for clients that shook hands: sessions, requests with or without one, the GET stream, batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from msgspec import Raw

from flow_edges.mcp.batches import answer_batch
from flow_edges.mcp.channel import Channel
from flow_edges.mcp.client import Caller
from flow_edges.mcp.exchange import Exchange
from flow_edges.mcp.guard import JSON, accepts, refused
from flow_edges.mcp.handshake import answer, stranger
from flow_edges.mcp.outline import Outline
from flow_edges.mcp.replies import accepted, answered, failed, succeeded, withdrawn
from flow_edges.mcp.service import supported
from flow_edges.mcp.sessions import OWN_STREAM, Session, Sessions
from flow_edges.mcp.settings import McpSettings
from flow_edges.mcp.shared import Shared, put_all
from flow_edges.mcp.streams import ALIVE, carried, place, primer
from flowcore.errors import CallError, InvalidRequest
from flowcore.http import Request, Response, Stream
from flowcore.mcp import (
    BATCHES,
    UNDECLARED,
    Message,
    Notification,
    decode_batch,
)
from flowcore.mcp import Request as Asked
from flowcore.mcp import Response as Answer
from flowcore.mcp.headers import LAST_EVENT, SESSION, VERSION

PRIMING_SINCE: Final = "2025-11-25"
"""The first version whose clients expect an event without data, which gives them an id to come back with."""


class HandshakeHttp:
    """Serves clients of versions up to 2025-11-25 over HTTP."""

    def __init__(self, shared: Shared, settings: McpSettings) -> None:
        self._shared = shared
        self._service = shared.service
        self._keep_alive = settings.keep_alive
        self._limits = settings.limits
        self._sessionless = settings.sessions.max == 0
        self._replay = settings.sessions.replay
        self.sessions = Sessions(settings.sessions, backlog=settings.limits.backlog)

    async def post(
        self, said: Outline, message: Message, meta: dict[str, Raw], caller: Caller
    ) -> Response | Stream:
        """The answer to one message; `meta` was taken out of its params. Raises CallError."""
        session_id, session = said.session, None
        if session_id is not None:
            session = self.sessions.find(session_id, caller.principal)
            if session is None:
                return refused(404, "no such session: send initialize again")
        if type(message) is Asked:
            return await self._request(said, session, message, meta, caller)
        if session is None and isinstance(message, Answer):
            return refused(400, "nobody was asked: an answer needs the session of its question")
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
        said: Outline,
        session: Session | None,
        message: Asked,
        meta: dict[str, Raw],
        caller: Caller,
    ) -> Response | Stream:
        name, params = message.method, message.params
        if session is None and name == "initialize":
            client = stranger(caller)
            with self._service.recording(name, params, meta, client, said.trace):
                self._service.attend(caller)
                return self._initialize(message, caller)
        method = supported(name, modern=False)
        conversation = None if session is None else session.conversation
        client = said.stateless(caller) if conversation is None else conversation.client_as(caller)
        if not method.asks:
            result = await answer(
                self._service, conversation, name, params, meta, client, said.trace
            )
            return succeeded(message.id, result)
        target = self._service.target(method, params, client, meta, said.trace)
        envelope = self._service.envelope(
            method, target, params, meta, client, said.key, said.trace
        )
        if self._shared.speaks(envelope, client):
            exchange = self._shared.start_for(conversation, message.id, envelope, method, client)
            return await answered(
                exchange,
                modern=False,
                keep_alive=self._keep_alive,
                carry=None if session is None else partial(self._carry, session),
            )
        if conversation is None:
            return succeeded(message.id, await self._service.submit(envelope, method, client))
        with trio.CancelScope() as scope:
            conversation.begin(message.id, scope)
            try:
                return succeeded(message.id, await self._service.submit(envelope, method, client))
            finally:
                conversation.ended(message.id)
        return withdrawn()

    def _initialize(self, message: Asked, caller: Caller) -> Response:
        conversation = self._shared.converse(message.params, caller.principal)
        response = succeeded(message.id, self._service.initialized(conversation.version))
        if self._sessionless:
            conversation.close()
            return response
        session = self.sessions.open(conversation)
        response.headers = (*JSON, (SESSION, session.id.encode()))
        return response

    # ---- streams of a session

    def open_or_end(self, request: Request, caller: Caller) -> Response | Stream:
        """GET opens the session's own stream, or goes on with one that broke; DELETE ends the session."""
        session = self.sessions.find(request.headers[SESSION], caller.principal)
        if session is None:
            return refused(404, "no such session: send initialize again")
        if request.method == "DELETE":
            self.sessions.close(session)
            return Response(204)
        if not accepts(request.headers.get(b"accept", b"*/*"), b"text/event-stream"):
            return refused(406, "the client must accept text/event-stream")
        if self._shared.hub.streams >= self._limits.streams:
            return refused(429, "too many streams are open", (b"retry-after", b"1"))
        if request.draining.is_set():
            return refused(503, "this server is about to stop", (b"retry-after", b"1"))
        last = request.headers.get(LAST_EVENT, b"").decode("latin-1")
        return self._resume(session, last) if last else self._own_stream(session)

    def _own_stream(self, session: Session) -> Response | Stream:
        channel = session.stream
        if channel is None:
            channel = self.sessions.open_channel(session, OWN_STREAM)
            session.conversation.outlet = channel.put_once
        elif channel.attached:
            return refused(409, "this session has its stream open already")
        return self._listened(session, channel, channel.position)

    def _resume(self, session: Session, last_event_id: str) -> Response | Stream:
        known = place(last_event_id)
        channel = None if known is None else session.channels.get(known[0])
        if known is None or channel is None or not channel.reaches(known[1]):
            return refused(400, "there is nothing to go on with after this Last-Event-ID")
        return self._listened(session, channel, known[1])

    def _listened(self, session: Session, channel: Channel, after: int) -> Stream:
        self._shared.hub.streams += 1

        def closed() -> None:
            self._shared.hub.streams -= 1
            self.sessions.touch(session)

        return self._carried(session, channel, after, closed)

    def _carry(self, session: Session, exchange: Exchange, frames: list[bytes]) -> Stream:
        """The stream of a call: it outlives its connection for a while."""
        channel = self.sessions.open_channel(session, session.name())
        put_all(channel, exchange, frames)
        stream = self._carried(session, channel, 0)
        if not exchange.done:
            self._shared.fill(channel, exchange)
        return stream

    def _carried(
        self,
        session: Session,
        channel: Channel,
        after: int,
        closed: Callable[[], None] | None = None,
    ) -> Stream:
        primed = self._replay.messages > 0 and session.conversation.version >= PRIMING_SINCE
        return carried(
            channel,
            after,
            opening=primer(channel, after, self._replay.retry) if primed else ALIVE,
            keep_alive=self._keep_alive,
            within=self._replay.within if self._replay.messages else 0.0,
            closed=closed,
        )

    # ---- batches

    async def batch(self, request: Request, caller: Caller) -> Response:
        """The answer to a JSON-RPC batch, which 2025-03-26 alone knows: one JSON array."""
        session_id, session = request.headers.get(SESSION), None
        if session_id is not None:
            session = self.sessions.find(session_id, caller.principal)
            if session is None:
                return refused(404, "no such session: send initialize again")
        version = request.headers.get(VERSION, b"").decode("latin-1")
        if session is not None:
            version = version or session.conversation.version
        if (version or UNDECLARED) not in BATCHES:
            return failed(None, InvalidRequest("batches are not supported"), status=400)
        try:
            messages = decode_batch(
                request.body,
                limit=self._limits.batch,
                depth=self._limits.nesting,
                values=self._limits.values,
                escapes=self._limits.escapes,
            )
        except CallError as error:
            return failed(None, error, status=400)
        body = await answer_batch(
            self._service,
            None if session is None else session.conversation,
            messages,
            caller,
            lambda message: self._heed(session, message),
        )
        return accepted() if body is None else Response(200, JSON, body)
