"""Who may reach the endpoint from where: Host, Origin, and the types of what is sent and accepted.

A browser that was lured onto a local endpoint by a name that its attacker controls (DNS rebinding) shows
that name in Host and the page's origin in Origin: neither is ours.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from flow_edges.mcp.settings import McpSettings, is_loopback
from flowcore.http import HeaderMap, Request, Response
from flowcore.mcp import INVALID_REQUEST, encode_error

JSON = ((b"content-type", b"application/json"),)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_READABLE = b"Mcp-Session-Id, WWW-Authenticate, Retry-After"
_ZERO = re.compile(rb"q[ \t]*=[ \t]*0(\.0*)?")
_REMEMBERED = 256
Headers = tuple[tuple[bytes, bytes], ...]
_BOTH = (b"application/json", b"text/event-stream")


class Guard:
    """Tells requests that may come in from those that may not."""

    def __init__(self, settings: McpSettings) -> None:
        self._local = is_loopback(settings.bind.host)
        names = {"localhost", settings.bind.host, *settings.allowed_hosts}
        if not self._local:
            names.add(socket.gethostname())
        self._hosts = frozenset(name.lower() for name in names)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.allowed_origins)
        self._known: dict[tuple[bytes | None, bytes | None], Response | None] = {}

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request from a wrong host or origin; None if it may come in."""
        headers = request.headers
        if b"origin" in headers.repeated:
            return refused(403, "more than one Origin")
        key = (headers.get(b"host"), headers.get(b"origin"))
        try:
            return self._known[key]
        except KeyError:
            refusal = self._judge(*key)
        if len(self._known) < _REMEMBERED:
            self._known[key] = refusal
        return refusal

    def welcome(self, request: Request) -> Headers:
        """The headers that let a page of an allowed origin read the answer (Fetch, CORS protocol)."""
        origin = request.headers.get(b"origin")
        if origin is None:
            return ()
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _READABLE),
            (b"vary", b"Origin"),
        )

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks whether a page may send what it wants to send."""
        asked = request.headers.get(b"access-control-request-headers", b"")
        more = (
            (b"access-control-allow-methods", b"POST, GET, DELETE"),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", b"600"),
        )
        return Response(204, (*self.welcome(request), *more))

    def _judge(self, host: bytes | None, origin: bytes | None) -> Response | None:
        match = _HOST.fullmatch((host or b"").decode("latin-1"))
        if match is None or not self._ours(match[1]):
            return refused(421, "this host is not served here (see allowed_hosts)")
        if origin is not None and not self._welcome(origin.decode("latin-1").lower()):
            return refused(403, "this origin may not call this endpoint (see allowed_origins)")
        return None

    def _ours(self, name: str) -> bool:
        if name.lower() in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        # an address cannot be rebound: beyond loopback whoever uses one means this machine
        return address.is_loopback or not self._local

    def _welcome(self, origin: str) -> bool:
        if origin in self._origins:
            return True
        match = _ORIGIN.fullmatch(origin)
        return match is not None and self._local and is_loopback(match[2].strip("[]"))


def refused(status: int, why: str, *more: tuple[bytes, bytes]) -> Response:
    """An HTTP refusal, with a JSON-RPC error that has no id for a body."""
    body = encode_error(None, {"code": INVALID_REQUEST, "message": why})
    return Response(status, (*JSON, *more), body)


def is_acceptable(headers: HeaderMap) -> bool:
    """Whether a POST is of the right type, and accepts both types of ours."""
    return _is_json(headers) and _accepts_both(headers)


def unacceptable(headers: HeaderMap) -> Response:
    """The answer to a POST of a wrong type, or that does not accept both types of ours."""
    if not _is_json(headers):
        return refused(415, "the body must be application/json")
    return refused(406, "the client must accept application/json and text/event-stream")


def accepts(accept: bytes, *kinds: bytes) -> bool:
    """Whether an Accept header takes all of these media types (RFC 9110 section 12.5.1).

    Of weights, only 0 matters: what has it is not taken.
    """
    taken: set[bytes] = set()
    never: set[bytes] = set()
    for one in accept.lower().split(b","):
        kind, *parameters = (part.strip() for part in one.split(b";"))
        zero = any(_ZERO.fullmatch(parameter) for parameter in parameters)
        (never if zero else taken).add(kind)
    for kind in kinds:
        names = (kind, kind.split(b"/")[0] + b"/*", b"*/*")  # the most telling one decides
        if not next((name in taken for name in names if name in taken | never), False):
            return False
    return True


def _is_json(headers: HeaderMap) -> bool:
    kind = headers.get(b"content-type", b"")
    return kind.partition(b";")[0].strip().lower() == b"application/json"


def _accepts_both(headers: HeaderMap) -> bool:
    listed = headers.getall(b"accept")
    return not listed or accepts(b",".join(listed), *_BOTH)
