"""An agent whose work takes as long as a test wants, and writes down whenever it is begun."""

from __future__ import annotations

import os
import pathlib

import trio

from flowcore.native import CallContext, tool


def _begun(folder: str, name: str) -> None:
    line = f"{name} {os.getpid()}\n".encode()
    descriptor = os.open(pathlib.Path(folder) / "begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line)
    os.close(descriptor)


async def _may_end(folder: str) -> None:
    while not (pathlib.Path(folder) / "go").exists():  # noqa: ASYNC110 - other processes make it
        await trio.sleep(0.02)


@tool(idempotent=True, task="optional")
async def again(context: CallContext, folder: str) -> str:
    """Work that may be done twice, until there is a file `go`."""
    _begun(folder, "again")
    context.progress(1, 2, "at work")
    await _may_end(folder)
    return f"done by {os.getpid()}"


@tool(task="optional")
async def once(folder: str) -> str:
    """The same, and may not be done twice."""
    _begun(folder, "once")
    await _may_end(folder)
    return f"done by {os.getpid()}"


@tool(task="optional")
async def ask(context: CallContext) -> str:
    """What is not done before somebody has said who they are."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    answer = await context.elicit("who are you?", schema)
    return f"hello, {(answer.content or {}).get('name')}"


@tool()
async def count(folder: str) -> str:
    """What is done at once, and not twice."""
    _begun(folder, "count")
    return f"counted by {os.getpid()}"


@tool()
async def mark(folder: str, name: str) -> str:
    """What is done at once under a name, and not twice."""
    _begun(folder, name)
    await trio.sleep(0.005)
    return f"{name} by {os.getpid()}"


@tool()
async def fence(context: CallContext) -> str:
    """The number under which it runs, and the process that it runs in."""
    return f"{context.fence} {os.getpid()}"
