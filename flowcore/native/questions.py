"""What the one who asks can be asked in turn: a form, a page, a model, its roots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from flowcore.errors import FlowError

Question = Mapping[str, Any]
"""A request of the protocol's, as `{"method": ..., "params": {...}}`."""


def ask_form(message: str, schema: Mapping[str, Any]) -> Question:
    """A form for the person behind the caller; `schema` is a flat JSON schema of an object."""
    return {
        "method": "elicitation/create",
        "params": {"message": message, "requestedSchema": schema},
    }


def ask_page(message: str, url: str) -> Question:
    """A page that the person behind the caller is to visit."""
    return {
        "method": "elicitation/create",
        "params": {"mode": "url", "message": message, "url": url},
    }


def ask_model(
    messages: Sequence[Mapping[str, Any]] | str, *, max_tokens: int = 1000, **more: Any
) -> Question:
    """A completion by the caller's model, of messages as MCP has them or of one text by the user."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": {"type": "text", "text": messages}}]
    return {
        "method": "sampling/createMessage",
        "params": {"messages": messages, "maxTokens": max_tokens, **more},
    }


def ask_roots() -> Question:
    """The caller's roots."""
    return {"method": "roots/list", "params": {}}


@attrs.frozen
class Elicited:
    """What a person answered: `action` is "accept", "decline" or "cancel"."""

    action: str
    content: dict[str, Any] | None = None


class InputRequired(FlowError):
    """Raise it to end the call with questions; the caller asks again, bringing the answers.

    `requests` are the questions by key; the answers are in `CallContext.answers` by the same keys. `state`
    (anything JSON can carry) comes back as `CallContext.state`, sealed so that the caller cannot change it.
    Nothing else is remembered between the two calls, so this works on any worker and any node that has the
    same key (MCP 2026-07-28, basic/patterns/mrtr). A caller of an earlier version is asked at once.
    """

    def __init__(
        self, requests: Mapping[str, Question] | None = None, *, state: Any = None
    ) -> None:
        self.requests = dict(requests or {})
        self.state = state
        if not self.requests and state is None:
            raise ValueError("InputRequired needs questions, a state, or both")
        super().__init__(f"answers are needed: {', '.join(self.requests) or 'none, ask again'}")
