"""Agents that benchmarks call."""

from __future__ import annotations

from flowcore.native import tool


@tool(read_only=True)
async def echo(text: str) -> str:
    """Say it again."""
    return text
