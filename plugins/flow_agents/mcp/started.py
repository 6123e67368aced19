"""A server that the node starts itself and then speaks to over HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from flow_agents.mcp.settings import McpSettings
from flow_agents.mcp.wire import Wire
from flowcore.errors import UpstreamFailure
from flowcore.http import split_url
from flowcore.processes import Launcher, LineTooLong, Process

_PAUSE = 0.05
"""Seconds between two attempts to connect to a server that is starting."""
_LINE = 64 << 10


@asynccontextmanager
async def open_started(
    launcher: Launcher,
    settings: McpSettings,
    stderr: Callable[[str], None],
    reached: AbstractAsyncContextManager[Wire],
) -> AsyncGenerator[Wire]:
    """Start the command, wait until its URL can be connected to, and yield the wire to it.

    The block ends with UpstreamFailure when the process does. How long a start may take is the pool's
    `start_timeout`.
    """
    async with (
        launcher.open_process(
            settings.command, env=settings.environment(), cwd=settings.cwd, on_stderr=stderr
        ) as process,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_hear, process, stderr)
        nursery.start_soon(_until_it_ends, process)
        await _listening(settings.url or "")
        async with reached as wire:
            yield wire
        nursery.cancel_scope.cancel()


def free_port(host: str) -> int:
    """A port that nothing listens on now. Whoever is given it should take it soon."""
    family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as one:
        one.bind(address)
        number: int = one.getsockname()[1]
        return number


async def _hear(process: Process, stderr: Callable[[str], None]) -> None:
    """What it prints is no protocol: it is kept beside its stderr."""
    try:
        async for line in process.lines(_LINE):
            stderr(line.decode("utf-8", "replace"))
    except LineTooLong:
        raise UpstreamFailure(f"the upstream printed a line of more than {_LINE:,} bytes") from None


async def _until_it_ends(process: Process) -> None:
    raise UpstreamFailure(f"the upstream's process {await process.wait()}")


async def _listening(url: str) -> None:
    origin, _ = split_url(url)
    while True:
        try:
            stream = await trio.open_tcp_stream(origin.host, origin.port)
        except OSError:
            await trio.sleep(_PAUSE)
        else:
            await stream.aclose()
            return
