"""Who may come in at an edge, and what is told to who may not."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from flow_edges.api.answers import JSON, problem
from flow_edges.resource import Reach, Resource, host_of, known_hosts
from flowcore.access import Access
from flowcore.addresses import is_local
from flowcore.errors import CallError, Unauthenticated
from flowcore.http import Request, Response
from flowcore.interfaces import Host
from flowcore.requests import Principal

T = TypeVar("T")

OPERATOR: Final = Principal(name="operator", scheme="loopback")
"""Whoever reaches an edge without `auth`: it listens on loopback."""


class Door:
    """Lets requests of one edge in."""

    def __init__(self, host: Host, config: Reach, access: Access, edge: str) -> None:
        """`edge` is the edge's name in the configuration."""
        self.host = host
        self.access = access
        self.edge = edge
        self._hosts = known_hosts(config.bind.host, config.allowed_hosts)
        self.resource = Resource(
            config.bind,
            "/",
            public_url=config.public_url,
            hosts=config.allowed_hosts,
            local=is_local(config.bind.host) or config.bind.host == "localhost",
        )
        """The edge's own URI."""

    async def guarded(
        self, answer: Callable[[Request], Awaitable[T]], request: Request
    ) -> T | Response:
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
                told = self.access.challenges
                headers += [(b"www-authenticate", one.encode()) for one in told]
            return Response(status, headers, msgspec.json.encode({"error": error.wire()}))

    def refused(self, request: Request) -> Response | None:
        """The refusal of a web page's request, and of one that is meant for another server."""
        if b"origin" in request.headers:
            return problem(403, "requests of web pages are refused here")
        host = host_of(request)
        if host not in self._hosts:
            return problem(421, f"this server is not {host[:100]!r}")
        return None

    async def caller(self, request: Request) -> Principal:
        """Who asks. Raises CallError for who may not come in."""
        if not self.access.schemes:
            return OPERATOR
        return await self.access.identify(request, self.resource.uri(request))

    async def admit(self, request: Request, action: str, target: str = "") -> Principal:
        """Who asks for this, if they may have it. Raises CallError."""
        principal = await self.caller(request)
        self.host.requests.guards.admit(self.edge, principal, action, target)
        return principal

    def done(self, principal: Principal, action: str, target: str) -> None:
        """Have guards know what an action that was admitted was done to."""
        self.host.requests.guards.done(self.edge, principal, action, target)
