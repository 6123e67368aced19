"""Whether a node lives, is ready, and is well: for machines that watch."""

from __future__ import annotations

from typing import Any

import trio

from flow_edges.api.answers import Answer, NotThere, as_json
from flow_edges.api.door import Door
from flowcore.assembly import Status
from flowcore.http import Request, Response


class Health:
    """Answers about the node as a whole."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._host = door.host

    @property
    def answers(self) -> dict[str, Answer]:
        """By the paths of `ROUTES`."""
        return {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/livez/COMPONENT": self._component,
            "/readyz/COMPONENT": self._component,
            "/status": self._status,
            "/nodes": self._nodes,
            "/drain": self._drain,
        }

    async def _livez(self, request: Request, parts: list[str]) -> Response:
        del request, parts
        return as_json({"live": True})

    async def _readyz(self, request: Request, parts: list[str]) -> Response:
        del request, parts
        ready = self._host.ready
        body: dict[str, Any] = {"ready": ready, "draining": self._host.draining.is_set()}
        if not self._door.access.schemes:  # who has not said who they are is told no more
            now = trio.current_time()
            components = self._host.components()
            body["unwell"] = [one.asdict(now) for one in components if one.status is not Status.OK]
        return as_json(body, 200 if ready else 503)

    async def _component(self, request: Request, parts: list[str]) -> Response:
        """Whether one component lives, or is ready for work."""
        await self._door.admit(request, "status", parts[1])
        one = next((one for one in self._host.components() if one.component == parts[1]), None)
        if one is None:
            raise NotThere(f"there is no component {parts[1][:200]!r}")
        live = one.status not in (Status.FAILED, Status.STOPPED)
        ready = one.status in (Status.OK, Status.DEGRADED) and not self._host.draining.is_set()
        well = live if parts[0] == "livez" else ready
        told = {"live": live, "ready": ready, **one.asdict(trio.current_time())}
        return as_json(told, 200 if well else 503)

    async def _status(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "status")
        return as_json(self._host.status())

    async def _nodes(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "nodes")
        return as_json(await self._host.ask_nodes())

    async def _drain(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "drain")
        self._host.retire()
        return as_json({"draining": True, "running": self._host.requests.tracker.running})
