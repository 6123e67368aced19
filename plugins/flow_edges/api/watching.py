"""What is seen of a node: traces, events as they happen, how much is logged, and exporters' pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flow_edges.api import telemetry
from flow_edges.api.answers import Answer, NotThere, as_json, not_allowed
from flow_edges.api.door import Door
from flowcore.errors import UnknownTarget
from flowcore.http import Request, Response, Stream
from flowcore.telemetry import Page


class Watching:
    """Answers about what happens, and what happened."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._host = door.host
        self._happening = telemetry.Events(door.host)

    @property
    def answers(self) -> dict[str, Answer]:
        """By the paths of `ROUTES`."""
        return {
            "/traces": self._traces,
            "/traces/ID": self._trace,
            "/events": self._events,
            "/logs": self._logs,
            "/logs/level": self._log_level,
        }

    async def _traces(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "traces")
        return as_json(telemetry.traces(self._host, request.query))

    async def _trace(self, request: Request, parts: list[str]) -> Response:
        await self._door.admit(request, "traces", parts[1])
        try:
            return as_json(await self._host.trace(parts[1]))
        except UnknownTarget as error:
            raise NotThere(error.message, data=error.data) from None

    async def _events(self, request: Request, parts: list[str]) -> Stream:
        del parts
        await self._door.admit(request, "events")
        activity = "activity=1" in request.query.split("&")
        return self._happening.stream(request.draining, activity=activity)

    async def _logs(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "logs")
        return as_json(telemetry.levels())

    async def _log_level(self, request: Request, parts: list[str]) -> Response:
        if parts[1] != "level":
            raise NotThere(f"logs can be told level, not {parts[1][:100]!r}")
        principal = await self._door.admit(request, "logs.level")
        answer, done = telemetry.change_level(request.body)
        self._door.done(principal, "logs.level", done)
        return as_json(answer)

    async def page(
        self, request: Request, path: str, page: Callable[[str], Awaitable[Page]]
    ) -> Response:
        """What an exporter has to be fetched."""
        if request.method not in ("GET", "HEAD"):
            return not_allowed(request, "GET")
        await self._door.admit(request, "metrics", path)
        given = await page(request.headers.get(b"accept", b"").decode("latin-1"))
        headers = [(b"content-type", given.content_type.encode()), (b"cache-control", b"no-store")]
        return Response(200, headers, given.body)
