"""The one HTTP endpoint that serves both eras: which request goes which way."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

import trio
from msgspec import Raw

from flow_edges.mcp.client import Caller
from flow_edges.mcp.door import WELL_KNOWN, Door
from flow_edges.mcp.guard import Guard, refused, unacceptable
from flow_edges.mcp.http_handshake import HandshakeHttp
from flow_edges.mcp.http_modern import ModernHttp
from flow_edges.mcp.modern import Introductions
from flow_edges.mcp.outline import Outline, outline_of
from flow_edges.mcp.replies import Failure, failed
from flow_edges.mcp.settings import McpSettings
from flow_edges.mcp.shared import Shared
from flow_edges.routes import Route
from flowcore.errors import CallError, InternalError
from flowcore.http import Request, Response, Stream
from flowcore.mcp import (
    LARGE,
    MODERN,
    Id,
    Message,
    ParseError,
    decode,
    failed_id,
    is_batch,
)
from flowcore.mcp import Request as Asked

logger = logging.getLogger(__name__)

_NONE: dict[str, Raw] = {}
_LONG = 1 << 16
"""Bytes of a body beyond which whoever is over a limit is refused before it is read."""
ORIGIN = b"origin"
METHODS = ("POST", "GET", "DELETE")
"""The methods of the endpoint; GET and DELETE within sessions only."""


def routes(settings: McpSettings) -> tuple[Route, ...]:
    """All that an edge of these settings answers; the pages about it only where tokens are taken."""
    return (
        *(Route(method, settings.path) for method in METHODS),
        *(
            Route("GET", path, open=True)
            for path in dict.fromkeys((WELL_KNOWN, WELL_KNOWN + settings.path))
        ),
    )


class Endpoint:
    """The handler of an MCP edge's HTTP server."""

    def __init__(self, shared: Shared, settings: McpSettings, door: Door) -> None:
        self._path = settings.path
        self._service = shared.service
        self._limits = settings.limits
        self._guard = Guard(settings)
        self._door = door
        self._introductions = Introductions()
        self._modern = ModernHttp(shared, settings)
        self.handshake = HandshakeHttp(shared, settings)

    def handle(self, request: Request) -> Coroutine[Any, Any, Response | Stream]:
        """The answer to one HTTP request. Raises nothing on purpose."""
        return self._of_page(request) if ORIGIN in request.headers else self._answer(request)

    async def _of_page(self, request: Request) -> Response | Stream:
        """The answer to a page in a browser, which may read it if its origin may call."""
        refusal = outline_of(request, self._guard).refusal
        if refusal is not None:
            return refusal
        if request.method == "OPTIONS":
            return self._guard.preflight(request)
        answer = await self._answer(request)
        answer.headers = (*answer.headers, *self._guard.welcome(request))
        return answer

    async def _answer(self, request: Request) -> Response | Stream:
        said = outline_of(request, self._guard)
        if said.refusal is not None:
            return said.refusal
        if request.target != self._path and request.path != self._path:
            return self._door.page(request) or refused(404, "there is nothing here")
        answer: Response | Stream
        try:
            caller = self._door.guest(request) or await self._door.identify(request)
        except CallError as error:
            answer = failed(None, error, status=error.http_status)
        else:
            if request.method != "POST":
                answer = self._other(request, said, caller)
            elif said.acceptable:
                answer = await self._post(request, said, caller)
            else:
                answer = unacceptable(request.headers)
        if type(answer) is Failure:
            self._door.challenge(request, answer)
        return answer

    def _other(self, request: Request, said: Outline, caller: Caller) -> Response | Stream:
        """An answer to a method other than POST."""
        if request.method in METHODS and said.session is not None:
            if not said.modern:
                return self.handshake.open_or_end(request, caller)
            if said.version not in MODERN:
                return refused(400, "MCP-Protocol-Version is not one that is spoken here")
        return refused(405, "this endpoint takes POST", (b"allow", b"POST"))

    async def _post(self, request: Request, said: Outline, caller: Caller) -> Response | Stream:
        meta, introduction = _NONE, None
        knock, limits = self._service.knock, self._limits
        if len(request.body) > _LONG:
            try:
                knock(caller)
            except CallError as error:
                return failed(None, error)
        try:
            read = partial(
                decode,
                request.body,
                depth=limits.nesting,
                values=limits.values,
                escapes=limits.escapes,
            )
            # a large one takes tens of milliseconds, in steps between which others have their turn
            large = len(request.body) > LARGE
            message = await trio.to_thread.run_sync(read) if large else read()
            if type(message) is Asked:
                meta, introduction = self._introductions.take(message.params)
        except CallError as error:
            if is_batch(request.body) and not isinstance(error, ParseError):
                return await self.handshake.batch(request, caller)
            known = failed_id(request.body) if len(request.body) <= LARGE else None
            return failed(known, error, status=400)
        modern = introduction is not None or said.modern
        try:
            if type(message) is Asked:
                knock(caller)
            if modern:
                return await self._modern.post(request, said, message, meta, introduction, caller)
            return await self.handshake.post(said, message, meta, caller)
        except CallError as error:
            return failed(_id_of(message), error, modern=modern)
        except Exception:
            logger.exception("a request failed within the edge")
            return failed(_id_of(message), InternalError("internal error"), modern=modern)


def _id_of(message: Message) -> Id | None:
    """The id of whoever waits for an answer."""
    return message.id if isinstance(message, Asked) else None
