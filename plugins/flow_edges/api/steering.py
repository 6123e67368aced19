"""Agents and guards: how they are, and having them do something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flow_edges.api.answers import Answer, NotThere, as_json, read_body
from flow_edges.api.door import Door
from flowcore.errors import UnknownTarget
from flowcore.http import Request, Response
from flowcore.interfaces import AgentView


class Steering:
    """Answers about agents and guards."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._host = door.host

    @property
    def answers(self) -> dict[str, Answer]:
        """By the paths of `ROUTES`."""
        return {
            "/agents": self._agents,
            "/agents/NAME": self._agent,
            "/agents/NAME/ACTION": self._steer,
            "/guards": self._guards,
            "/guards/NAME/ACTION": self._act,
        }

    async def _agents(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "agents")
        elsewhere = await self._host.ask_agents()
        return as_json({"agents": list(self._host.each_agent()), "elsewhere": elsewhere})

    async def _agent(self, request: Request, parts: list[str]) -> Response:
        await self._door.admit(request, "agents", parts[1])
        return as_json(self._find(parts[1]).status())

    def _find(self, name: str) -> AgentView:
        try:
            return self._host.agent(name)
        except UnknownTarget as error:
            raise NotThere(error.message, data=error.data) from None

    async def _steer(self, request: Request, parts: list[str]) -> Response:
        await self._door.admit(request, f"agents.{parts[2]}", parts[1])
        agent = self._find(parts[1])
        steps: dict[str, Callable[[], None]] = {
            "pause": agent.pause,
            "resume": agent.resume,
            "restart": agent.restart,
        }
        step = steps.get(parts[2])
        if step is None:
            raise NotThere(f"an agent can be told {', '.join(steps)}, not {parts[2][:100]!r}")
        step()
        return as_json({"agent": agent.name, "done": parts[2], "state": agent.state.value})

    async def _guards(self, request: Request, parts: list[str]) -> Response:
        del parts
        await self._door.admit(request, "guards")
        return as_json({"guards": self._host.status()["guards"]})

    async def _act(self, request: Request, parts: list[str]) -> Response:
        _, name, action = parts
        principal = await self._door.admit(request, f"guards.{action}", name)
        arguments = read_body(request.body, dict[str, Any], "arguments as a JSON object")
        try:
            done = self._host.guard(name).act(action, arguments)
        except UnknownTarget as error:
            raise NotThere(error.message, data=error.data) from None
        said = " ".join(f"{key}={value}" for key, value in arguments.items())
        if said:  # admitted was the action; here is what it was done to
            self._door.done(principal, f"guards.{action}", f"{name} {said}")
        return as_json({"guard": name, "done": action, "result": done})
