"""An agent whose calls are written down."""

from __future__ import annotations

from flowcore.native import tool


@tool
async def echo(text: str) -> str:
    """Say it again."""
    return text


@tool
async def secret() -> str:
    """What nobody may know."""
    raise AssertionError("nobody may come here")
