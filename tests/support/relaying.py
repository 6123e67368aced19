"""An agent that asks others: whoever tests it says how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from flowcore.native import CallContext, tool

ask: list[Callable[[str], Awaitable[Any]]] = []
"""What it does with a text."""
contexts: list[dict[str, Any]] = []
"""The `_meta` of each call."""


@tool()
async def relay(context: CallContext, text: str) -> str:
    """Have others do it."""
    contexts.append(context.meta)
    for one in ask:
        await one(text)
    return text
