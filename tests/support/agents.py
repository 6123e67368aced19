"""Agents that tests call."""

from __future__ import annotations

import time
from typing import Any

import trio

from flowcore.native import CallContext, ToolError, tool


@tool(read_only=True)
async def echo(text: str, times: int = 1) -> str:
    """Say it again."""
    return text * times


@tool()
def add(a: int, b: int) -> int:
    """Add, in a thread."""
    return a + b


@tool()
async def wait(seconds: float) -> str:
    """Take a while."""
    await trio.sleep(seconds)
    return "waited"


@tool()
async def steps(context: CallContext, count: int) -> str:
    """Tell of each step."""
    for step in range(count):
        context.progress(step + 1, count)
        await trio.lowlevel.checkpoint()
    return "done"


@tool()
def block(seconds: float) -> str:
    """Take a while in a thread."""
    time.sleep(seconds)
    return "blocked"


@tool()
async def fail(how: str) -> str:
    """Fail in one way or another."""
    if how == "tool":
        raise ToolError("this is how it failed")
    raise ValueError("not what it should be")


@tool()
async def whoami(context: CallContext) -> dict[str, Any]:
    """Who asks, and when the answer must be there."""
    return {"principal": context.principal.name, "left": context.deadline - trio.current_time() > 0}
