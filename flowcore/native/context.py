"""What a native tool may do besides returning: tell progress, log, ask its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from flowcore.agents import FENCE
from flowcore.envelope import Envelope, Principal
from flowcore.errors import InvalidArguments
from flowcore.native.agent import LogLevel, NativeAgent, in_trio
from flowcore.native.questions import Elicited, Question, ask_form, ask_model, ask_page, ask_roots

_decode_answers = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.define(eq=False)
class CallContext:
    """One call, as its tool sees it. A parameter annotated with this class is given it.

    In a function that is not async, `progress` and `log` are called as they are, and questions are asked by
    `trio.from_thread.run(context.elicit, message, schema)`.
    """

    _envelope: Envelope
    agent: NativeAgent
    """The agent, for what concerns more than this call."""
    state: Any = None
    """What `InputRequired` carried, when the caller comes back with answers; else None."""

    @property
    def envelope(self) -> Envelope:
        """The request as it travels, for a tool that asks others on its caller's behalf."""
        return self._envelope

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
        """The request's `_meta`, decoded; its trace context is that of this very call."""
        span, meta = self._envelope.noted or self._envelope.span, self._envelope.meta
        whole = meta if span is None else span.carried(meta)
        return {key: msgspec.json.decode(raw) for key, raw in whole.items()}

    @property
    def fence(self) -> int:
        """The number under which a singleton runs here: what it acts upon should refuse a smaller one than it
        has seen. 0 for an agent that is no singleton."""
        raw = self._envelope.meta.get(FENCE)
        return 0 if raw is None else msgspec.json.decode(raw, type=int)

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the caller declared it can do, decoded."""
        peer = self._envelope.peer.capabilities
        return {key: msgspec.json.decode(raw) for key, raw in peer.items()}

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """Answers to the questions of `InputRequired`, by key; {} on a first call.

        Raises InvalidArguments for answers that are none.
        """
        raw = self._envelope.params.get("inputResponses")
        if raw is None:
            return {}
        try:
            return _decode_answers(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArguments(f"inputResponses: {error}") from None

    def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far it is, if the caller asked to be told."""
        token = self._envelope.meta.get("progressToken")
        params: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        self._tell("notifications/progress", params)

    def log(self, data: Any, level: LogLevel = "info", logger: str | None = None) -> None:
        """Send the caller a log message, if it wants any."""
        params = {"level": level, "logger": logger or self.agent.name, "data": data}
        self._tell("notifications/message", params)

    async def elicit(self, message: str, schema: Mapping[str, Any]) -> Elicited:
        """Ask the person behind the caller to fill in a form.

        Raises CallError if the caller cannot be asked, or cannot answer.
        """
        return _elicited(await self._ask(ask_form(message, schema)))

    async def elicit_page(self, message: str, url: str) -> Elicited:
        """Ask the person behind the caller to visit a page. Raises CallError as `elicit` does."""
        return _elicited(await self._ask(ask_page(message, url)))

    async def sample(
        self, messages: Sequence[Mapping[str, Any]] | str, *, max_tokens: int = 1000, **more: Any
    ) -> dict[str, Any]:
        """Ask the caller's model; its answer as MCP has it. Raises CallError as `elicit` does."""
        return await self._ask(ask_model(messages, max_tokens=max_tokens, **more))

    async def roots(self) -> list[dict[str, Any]]:
        """Ask for the caller's roots. Raises CallError as `elicit` does."""
        return list((await self._ask(ask_roots())).get("roots", []))

    async def _ask(self, question: Question) -> dict[str, Any]:
        params = Raw(msgspec.json.encode(question["params"]))
        return _decode_object(await self._envelope.peer.request(question["method"], params))

    def _tell(self, method: str, params: dict[str, Any]) -> None:
        in_trio(self._envelope.peer.notify, method, Raw(msgspec.json.encode(params)))


def _elicited(answer: dict[str, Any]) -> Elicited:
    return Elicited(answer.get("action", "cancel"), answer.get("content"))
