"""What the dashboard answers, and whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs
import msgspec
import trio

from flow_edges.api import Api, problem
from flow_edges.dashboard.hub import Hub
from flow_edges.dashboard.settings import DashboardConfig
from flow_edges.dashboard.shelf import GUARDED, Page
from flow_edges.resource import host_of, known_hosts
from flowcore.access import Access
from flowcore.envelope import Principal
from flowcore.errors import CallError, Overloaded
from flowcore.http import Hopeless, Request, Response, Send, Stream
from flowcore.interfaces import Host

OWN_HEADER: Final = b"x-flow-dashboard"
"""Sent by the pages with all that is no page. Other sites' pages cannot send it without being asked first
(Fetch, section 4.8), and that asking is not answered."""
PING: Final = 15.0
"""Seconds of silence after which a stream says that it is still there."""
EVENTS: Final = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), *GUARDED)
ACTIONS: Final = (
    *("status", "agents", "agents.pause", "agents.resume", "agents.restart", "tasks", "state"),
    *("events", "traces", "guards", "guards.list", "guards.approve", "guards.tail"),
    *("memory.map", "drain"),
)
"""What the pages want to know whether one may."""
TOOLS: Final = ("route", "feedback")
"""Tools of the node that the pages call."""


class Dashboard:
    """Answers the requests of browsers."""

    def __init__(
        self,
        host: Host,
        config: DashboardConfig,
        access: Access,
        api: Api,
        hub: Hub,
        pages: Mapping[str, Page],
        edge: str,
    ) -> None:
        self._host = host
        self._config = config
        self._access = access
        self._api = api
        self._hub = hub
        self._pages = pages
        self._edge = edge
        self._hosts = known_hosts(config.bind.host, config.allowed_hosts)
        self._public = _origin_of(config.public_url)
        if config.public_url:
            self._hosts |= {host_name(config.public_url)}

    async def handle(self, request: Request) -> Response | Stream:
        """Answer one request; never raises for what a client did."""
        answer = self._foreign(request) or await self._answer(request)
        if answer.headers[-len(GUARDED) :] != GUARDED:
            answer.headers = (*answer.headers, *GUARDED)
        return answer

    async def _answer(self, request: Request) -> Response | Stream:
        path = request.path
        page = self._pages.get(path)
        if page is not None:
            if request.method in ("GET", "HEAD"):
                return page.answer(request)
            return _only(path, "GET")
        if path not in ("/session", "/live") and not path.startswith("/api/"):
            return problem(404, f"there is nothing at {path[:200]!r}")
        if OWN_HEADER not in request.headers:
            return problem(403, "this is for the dashboard's own pages; programs use the api edge")
        if path.startswith("/api/"):
            return await self._api.answer(request, path.removeprefix("/api"))
        if request.method != "GET":
            return _only(path, "GET")
        return await self._api.door.guarded(
            self._live if path == "/live" else self._session, request
        )

    def _foreign(self, request: Request) -> Response | None:
        """The refusal of what another site's page has sent, or what was meant for another server."""
        host = host_of(request)
        if host not in self._hosts:
            return problem(421, f"this server is not {host[:100]!r}")
        origin = request.headers.get(b"origin")
        if origin is not None and not self._own(origin.decode("latin-1"), request):
            return problem(403, "requests of other sites' pages are refused here")
        site = request.headers.get(b"sec-fetch-site", b"none")
        if site not in (b"same-origin", b"none") and request.path not in self._pages:
            return problem(403, "requests of other sites' pages are refused here")
        return None

    def _own(self, origin: str, request: Request) -> bool:
        scheme = "https" if request.secure else "http"
        named = request.headers.get(b"host", b"").decode("latin-1")
        return origin.lower() in (f"{scheme}://{named}".lower(), self._public)

    # ---- who is there

    async def _session(self, request: Request) -> Response:
        """Who asks, and what they may do."""
        principal = await self._api.door.caller(request)
        guards = self._host.requests.guards
        body = {
            "node": self._host.name,
            "principal": {"name": principal.name, "scheme": principal.scheme},
            "auth": bool(self._access.schemes),
            "may": [one for one in ACTIONS if guards.may(self._edge, principal, one)],
            "tools": [
                one for one in TOOLS if guards.shows(self._edge, principal, "flow", "tools", one)
            ],
            "pinning": [
                name
                for name, one in self._host.overview()["guards"].items()
                if one["type"] == "pinning"
            ],
            "router": self._routes(),
            "streams": attrs.asdict(self._hub.statistics),
        }
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return Response(200, headers, msgspec.json.encode(body))

    def _routes(self) -> bool:
        """Whether requests in words have somewhere to go."""
        try:
            self._host.router  # noqa: B018 - asked for what it raises
        except CallError:
            return False
        return True

    async def _live(self, request: Request) -> Stream:
        """The stream of what changes, of those topics that the principal may watch."""
        principal = await self._api.door.admit(request, "status")
        hub = self._hub
        if not hub.enter(self._config.streams):
            raise Overloaded(
                f"{self._config.streams} browsers watch already, and no more may", retry_after=5.0
            )
        names = self._permitted(principal)

        async def run(send: Send) -> None:
            async with hub.watching(names) as watcher:
                with watcher.scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._recheck, request, names, nursery.cancel_scope)
                        await send(b"retry: 2000\n\n")
                        while True:
                            with trio.move_on_after(PING) as quiet:
                                event = await watcher.receive.receive()
                            await send(b": still here\n\n" if quiet.cancelled_caught else event)
            if watcher.dropped:
                raise Hopeless("this browser does not read")

        return Stream(200, EVENTS, run, hub.leave)

    def _permitted(self, principal: Principal) -> list[str]:
        guards = self._host.requests.guards
        return [
            one.name for one in self._hub.topics if guards.may(self._edge, principal, one.action)
        ]

    async def _recheck(self, request: Request, names: list[str], scope: trio.CancelScope) -> None:
        """End a stream whose principal may not watch any more what it watches: revoked, expired, demoted."""
        while True:
            await trio.sleep(self._config.recheck)
            try:
                principal = await self._api.door.caller(request)
            except CallError:
                break
            if self._permitted(principal) != names:
                break
        scope.cancel()


def host_name(url: str) -> str:
    """The host of a URL, as in a Host header without its port, in lower case."""
    name = urlsplit(url).hostname or ""
    return f"[{name}]" if ":" in name else name


def _origin_of(url: str) -> str:
    """The origin of a URL; one that no page has, if there is no URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if url else ""


def _only(path: str, method: str) -> Response:
    response = problem(405, f"{path[:200]} is for {method}")
    response.headers = [*response.headers, (b"allow", method.encode())]
    return response
