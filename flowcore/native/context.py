"""What a native tool may do besides returning: tell progress, log, ask its caller."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import msgspec
from msgspec import Raw

from flowcore.envelope import Envelope, Principal
from flowcore.errors import FlowError

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


@attrs.frozen
class Elicited:
    """What a person answered: `action` is "accept", "decline" or "cancel"."""

    action: str
    content: dict[str, Any] | None = None


class InputRequired(FlowError):
    """Raise it to end the call with questions; the caller asks again with the answers (MCP 2026-07-28).

    `requests` are the questions by key, each `{"method": ..., "params": {...}}`; `state` is given back
    with the answers (`context.state`), sealed so that the caller cannot change it.
    """

    def __init__(self, requests: dict[str, dict[str, Any]], state: Any = None) -> None:
        super().__init__(f"answers are needed: {', '.join(requests)}")
        self.requests = requests
        self.state = state


@attrs.define(eq=False)
class CallContext:
    """One call, as its tool sees it. A parameter annotated with this class is given it."""

    _envelope: Envelope
    agent: str
    state: Any = None
    """What `InputRequired` carried, when the caller comes back with answers; else None."""

    @property
    def request_id(self) -> str:
        """The request's UUID."""
        return self._envelope.id

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self._envelope.principal

    @property
    def deadline(self) -> float:
        """When the answer must be there, on trio's clock."""
        return self._envelope.deadline

    @property
    def modern(self) -> bool:
        """Whether the caller speaks MCP 2026-07-28 or later."""
        return self._envelope.modern

    @property
    def meta(self) -> dict[str, Any]:
        """The request's `_meta`, decoded."""
        return {key: msgspec.json.decode(raw) for key, raw in self._envelope.meta.items()}

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the caller declared it can do, decoded."""
        peer = self._envelope.peer.capabilities
        return {key: msgspec.json.decode(raw) for key, raw in peer.items()}

    @property
    def answers(self) -> dict[str, Any]:
        """Answers to the questions of `InputRequired`, by key; {} on a first call."""
        raw = self._envelope.params.get("inputResponses")
        return {} if raw is None else msgspec.json.decode(raw, type=dict[str, Any])

    def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far it is, if the caller asked to be told."""
        token = self._envelope.meta.get("progressToken")
        if token is None:
            return
        params: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        self._envelope.peer.notify("notifications/progress", Raw(msgspec.json.encode(params)))

    def log(self, data: Any, level: LogLevel = "info", logger: str | None = None) -> None:
        """Send the caller a log line."""
        params = {"level": level, "logger": logger or self.agent, "data": data}
        self._envelope.peer.notify("notifications/message", Raw(msgspec.json.encode(params)))

    async def elicit(self, message: str, schema: dict[str, Any]) -> Elicited:
        """Ask the person behind the caller to fill in a form. Raises UnknownMethod if it cannot ask."""
        params = {"message": message, "requestedSchema": schema}
        answer = await self._ask("elicitation/create", params)
        return Elicited(answer.get("action", "cancel"), answer.get("content"))

    async def sample(
        self, messages: list[dict[str, Any]], *, max_tokens: int = 1000, **more: Any
    ) -> dict[str, Any]:
        """Ask the caller's model. Raises UnknownMethod if it cannot ask."""
        params = {"messages": messages, "maxTokens": max_tokens, **more}
        return await self._ask("sampling/createMessage", params)

    async def roots(self) -> list[dict[str, Any]]:
        """Ask for the caller's roots. Raises UnknownMethod if it has none to tell."""
        answer = await self._ask("roots/list", {})
        return list(answer.get("roots", []))

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        raw = await self._envelope.peer.request(method, Raw(msgspec.json.encode(params)))
        return msgspec.json.decode(raw, type=dict[str, Any])
