"""Standard input and output taken over for the protocol, and given back."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

Receive = Callable[[], Awaitable[bytes]]
"""Gives some bytes; b"" at the end."""

Send = Callable[[bytes], Awaitable[None]]
"""Writes all bytes. Raises trio.BrokenResourceError when nobody reads them any more."""

_CHUNK = 65536


@asynccontextmanager
async def open_standard_streams() -> AsyncGenerator[tuple[Receive, Send]]:
    """Descriptors 0 and 1 as functions that receive and send.

    Within the block descriptor 0 is /dev/null and descriptor 1 is standard error, so that nothing that is
    printed, here or by a child, gets between the messages.
    """
    sys.stdout.flush()
    inner, outer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        async with _opened(inner) as receive_stream, _opened(outer) as send_stream:
            yield _receiver(inner, receive_stream), _sender(outer, send_stream)
    finally:
        sys.stdout.flush()
        os.dup2(inner, 0)
        os.dup2(outer, 1)
        os.close(inner)
        os.close(outer)


def stop_process() -> None:
    """Ask this process to end as if by TERM; nothing where nobody handles that."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def _opened(fd: int) -> AsyncGenerator[trio.lowlevel.FdStream | None]:
    """A stream of a copy of the descriptor; None for files, which cannot be waited for."""
    if not _waitable(fd):
        yield None
        return
    async with trio.lowlevel.FdStream(os.dup(fd)) as stream:
        yield stream


def _waitable(fd: int) -> bool:
    with select.epoll() as poll:
        try:
            poll.register(fd)
        except PermissionError:
            return False
    return True


def _receiver(fd: int, stream: trio.lowlevel.FdStream | None) -> Receive:
    if stream is not None:
        return stream.receive_some

    async def receive() -> bytes:
        return await trio.to_thread.run_sync(os.read, fd, _CHUNK, abandon_on_cancel=True)

    return receive


def _sender(fd: int, stream: trio.lowlevel.FdStream | None) -> Send:
    if stream is not None:
        return stream.send_all

    async def send(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = await trio.to_thread.run_sync(os.write, fd, rest)
            rest = rest[written:]

    return send
