"""The one HTTP endpoint that serves both eras: which request goes which way."""

from __future__ import annotations

from msgspec import Raw

from flow_edges.mcp.guard import Guard, refused, unacceptable
from flow_edges.mcp.http_handshake import HandshakeHttp
from flow_edges.mcp.http_modern import ModernHttp
from flow_edges.mcp.modern import Introductions
from flow_edges.mcp.replies import failed
from flow_edges.mcp.settings import McpSettings
from flow_edges.mcp.shared import Shared
from flowcore.errors import CallError
from flowcore.http import Request, Response, Stream
from flowcore.mcp import MODERN, Era, ParseError, decode, era_of, failed_id, is_batch
from flowcore.mcp import Request as Asked
from flowcore.mcp.headers import SESSION, VERSION
from flowcore.requests import ANONYMOUS, Principal

_MODERN = frozenset(version.encode() for version in MODERN)
_NONE: dict[str, Raw] = {}
ORIGIN = b"origin"


def identify(request: Request) -> Principal:
    """Who asks. Every request passes here, and nothing is done for it before."""
    del request
    return ANONYMOUS


class Endpoint:
    """The handler of an MCP edge's HTTP server."""

    def __init__(self, shared: Shared, settings: McpSettings) -> None:
        self._path = settings.path
        self._depth = settings.limits.nesting
        self._guard = Guard(settings)
        self._introductions = Introductions()
        self._modern = ModernHttp(shared, settings)
        self.handshake = HandshakeHttp(shared, settings)

    async def handle(self, request: Request) -> Response | Stream:
        """The answer to one HTTP request. Raises nothing on purpose."""
        refusal = self._guard.refusal(request)
        if refusal is not None:
            return refusal
        if request.target != self._path and request.path != self._path:
            return refused(404, "there is nothing here")
        if ORIGIN not in request.headers:
            return await self._answer(request)
        if request.method == "OPTIONS":
            return self._guard.preflight(request)
        answer = await self._answer(request)
        answer.headers = (*answer.headers, *self._guard.welcome(request))
        return answer

    async def _answer(self, request: Request) -> Response | Stream:
        principal = identify(request)
        if request.method == "POST":
            return unacceptable(request) or await self._post(request, principal)
        if (
            request.method in ("GET", "DELETE")
            and SESSION in request.headers
            and request.headers.get(VERSION) not in _MODERN
        ):
            return self.handshake.open_or_end(request, principal)
        return refused(405, "this endpoint takes POST", (b"allow", b"POST"))

    async def _post(self, request: Request, principal: Principal) -> Response | Stream:
        headers = request.headers
        declared = headers.get(VERSION)
        meta, introduction = _NONE, None
        try:
            message = decode(request.body, depth=self._depth)
            if type(message) is Asked:
                meta, introduction = self._introductions.take(message.params)
        except CallError as error:
            if is_batch(request.body) and not isinstance(error, ParseError):
                return await self.handshake.batch(request, principal)
            return failed(failed_id(request.body), error, status=400)
        if introduction is not None or (declared is not None and _is_modern(declared)):
            return await self._modern.post(request, message, meta, introduction, principal)
        return await self.handshake.post(request, message, meta, principal)


def _is_modern(version: bytes) -> bool:
    """Whether a version in the header is not one of those with a handshake; unknown ones will be newer."""
    return version in _MODERN or era_of(version.decode("latin-1")) is not Era.HANDSHAKE
