"""What a request's headers say to the endpoint, read once.

A kept connection tends to say the same head again, and its requests then have the very same headers: so
nothing is read out of them a second time.
"""

from __future__ import annotations

import msgspec

from flow_edges.mcp.client import Caller, Client
from flow_edges.mcp.guard import Guard, is_acceptable
from flow_edges.mcp.handshake import stateless_client
from flow_edges.mcp.recorded import Headers
from flowcore.http import HeaderMap, Request, Response
from flowcore.mcp import Era, era_of
from flowcore.mcp.headers import METHOD, NAME, SESSION, VERSION

KEY = b"idempotency-key"
TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"
_MIRRORS = (VERSION, METHOD, NAME)


class Outline(msgspec.Struct, eq=False, kw_only=True):
    """The headers of one head, as far as they concern the endpoint."""

    refusal: Response | None
    """The answer to a request from a wrong host or origin; None if it may come in."""
    acceptable: bool
    """Whether a POST has the right types."""
    version: str | None
    modern: bool
    """Whether the version is none of those with a handshake; unknown ones will be newer."""
    method: str | None
    name: bytes | None
    quoted: bytes | None
    """The name as the body has it, if it needs no decoding."""
    twice: bytes | None
    """A header that mirrors the body and stands more than once."""
    session: bytes | None
    key: bytes | None
    """The idempotency key."""
    trace: Headers | None
    """The W3C trace context, if there is one."""
    client: Client | None = None
    """Who asked last with these headers and without a session."""

    def stateless(self, caller: Caller) -> Client:
        """The client of a request that uses no session."""
        last = self.client
        if (
            last is not None
            and last.principal is caller.principal
            and last.address == caller.address
        ):
            return last
        self.client = client = stateless_client(self.version, caller)
        return client


def outline_of(request: Request, guard: Guard) -> Outline:
    """What these headers say to the edge that has this guard."""
    headers = request.headers
    known = headers.outline
    if type(known) is Outline:
        return known
    outline = headers.outline = _read(request, guard)
    return outline


def _read(request: Request, guard: Guard) -> Outline:
    headers = request.headers
    version, method, name = _text(headers, VERSION), headers.get(METHOD), headers.get(NAME)
    plain = name is not None and name.isascii() and not name.startswith(b"=?")
    return Outline(
        refusal=guard.refusal(request),
        acceptable=is_acceptable(headers),
        version=version,
        modern=version is not None and era_of(version) is not Era.HANDSHAKE,
        method=None if method is None else method.decode("utf-8", "replace"),
        name=name,
        quoted=b'"%b"' % name if plain and name is not None else None,
        twice=next((one for one in _MIRRORS if one in headers.repeated), None),
        session=headers.get(SESSION),
        key=headers.get(KEY),
        trace=trace_of(headers),
    )


def trace_of(headers: HeaderMap) -> Headers | None:
    """What headers say of a trace; None if they say nothing."""
    parent = _text(headers, TRACEPARENT)
    return None if parent is None else (parent, _text(headers, TRACESTATE) or "")


def _text(headers: HeaderMap, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
