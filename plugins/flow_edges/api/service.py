"""The `api` edge's answers: a request is dispatched by its path, and by nothing else."""

from __future__ import annotations

from functools import partial

from flow_edges.api.answers import Answer, not_allowed, problem
from flow_edges.api.door import Door
from flow_edges.api.health import Health
from flow_edges.api.kept import Kept
from flow_edges.api.paths import ROUTES
from flow_edges.api.steering import Steering
from flow_edges.api.watching import Watching
from flow_edges.api.work import Work
from flow_edges.resource import Reach
from flowcore.access import Access
from flowcore.http import Request, Response, Stream
from flowcore.interfaces import Host


class Api:
    """Answers requests about one host."""

    def __init__(self, host: Host, config: Reach, access: Access, edge: str) -> None:
        """`edge` is the edge's name in the configuration."""
        self._host = host
        self.door = door = Door(host, config, access, edge)
        """Who may come in."""
        self._watching = Watching(door)
        answers: dict[str, Answer] = {
            **Health(door).answers,
            **Steering(door).answers,
            **Kept(door).answers,
            **Work(door).answers,
            **self._watching.answers,
        }
        self._routes = {one.key: (one, answers[one.path]) for one in ROUTES}

    async def handle(self, request: Request) -> Response | Stream:
        """Answer one request; never raises for what a client did."""
        refusal = self.door.refused(request)
        return await self.answer(request, request.path) if refusal is None else refusal

    async def answer(self, request: Request, path: str) -> Response | Stream:
        """Answer a request for one of `ROUTES`, whoever may send it: who it is, is asked. Never raises."""
        return await self.door.guarded(partial(self._route, path=path), request)

    async def _route(self, request: Request, path: str) -> Response | Stream:
        parts = path.strip("/").split("/")
        found = self._routes.get((len(parts), parts[0]))
        if found is None:
            page = self._host.telemetry.pages.get(path)
            if page is not None:
                return await self._watching.page(request, path, page)
        if found is None or path != "/" + "/".join(parts):
            return problem(404, f"there is nothing at {request.path[:200]!r}")
        route, answer = found
        if request.method != route.method and not (
            route.method == "GET" and request.method == "HEAD"
        ):
            return not_allowed(request, route.method)
        return await answer(request, parts)
