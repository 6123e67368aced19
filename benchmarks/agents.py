"""Agents that benchmarks call."""

from __future__ import annotations

import trio

from flowcore.native import tool


@tool(read_only=True)
async def echo(text: str) -> str:
    """Say it again."""
    return text


@tool
async def work(text: str) -> str:
    """Say it again, after 20 ms."""
    await trio.sleep(0.02)
    return text
