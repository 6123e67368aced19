"""The methods of both eras: who knows them, what they name, what their results must carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen
class Method:
    """A request that a client sends to a server."""

    name: str
    handshake: bool = True
    """Whether versions with a handshake know it."""
    modern: bool = True
    """Whether 2026-07-28 knows it."""
    subject: str | None = None
    """The parameter that names what it is about; the `Mcp-Name` header mirrors it."""
    cacheable: bool = False
    """Whether its complete result carries `ttlMs` and `cacheScope`."""
    asks: bool = False
    """Whether it may be answered `input_required`."""


_CLIENT: Final = (
    Method("initialize", modern=False),
    Method("ping", modern=False),
    Method("logging/setLevel", modern=False),
    Method("resources/subscribe", modern=False),
    Method("resources/unsubscribe", modern=False),
    Method("server/discover", handshake=False, cacheable=True),
    Method("subscriptions/listen", handshake=False),
    Method("tasks/get", handshake=False, subject="taskId"),
    Method("tasks/update", handshake=False, subject="taskId"),
    Method("tasks/cancel", handshake=False, subject="taskId"),
    Method("tools/list", cacheable=True),
    Method("tools/call", subject="name", asks=True),
    Method("resources/list", cacheable=True),
    Method("resources/templates/list", cacheable=True),
    Method("resources/read", subject="uri", cacheable=True, asks=True),
    Method("prompts/list", cacheable=True),
    Method("prompts/get", subject="name", asks=True),
    Method("completion/complete"),
)

METHODS: Final[Mapping[str, Method]] = {method.name: method for method in _CLIENT}
"""Every request a client may send, by name."""

LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "tools/list": ("tools", "tools"),
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("templates", "resourceTemplates"),
    "prompts/list": ("prompts", "prompts"),
}
"""A list's kind in the directory, and the member of the result it stands in."""

ASKS: Final[Mapping[str, str]] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What a server may ask of a client, and the capability the client must have declared for it."""

LIST_CHANGED: Final[Mapping[str, str]] = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
}
"""A notification that a list changed, and the member of the filter that asks for it in 2026-07-28."""
