"""A server that answers each request with given bytes, right or wrong, and notes what it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

Script = Callable[["Asked"], Awaitable[None]]


class Asked:
    """One request that came, and the means to answer it."""

    def __init__(self, stream: trio.SocketStream, connection: int, number: int, raw: bytes) -> None:
        self.stream = stream
        self.connection = connection
        """Which connection it came on, from 0."""
        self.number = number
        """Which request of its connection it is, from 0."""
        self.raw = raw

    async def answer(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send_all(data)

    async def flood(self, data: bytes) -> None:
        """Send these bytes until the client goes away."""
        try:
            while True:
                await self.stream.send_all(data)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()


class Lying:
    """What is known of an open one."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.asked: list[Asked] = []
        self.connections = 0


@asynccontextmanager
async def lying(script: Script | bytes) -> AsyncGenerator[Lying]:
    """A server that runs `script` for each request; bytes are sent, and then the connection is closed."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    state = Lying(listener.socket.getsockname()[1])

    async def serve(stream: trio.SocketStream) -> None:
        connection, number, raw = state.connections, 0, b""
        state.connections += 1
        try:
            while True:
                while not (request := _whole(raw)):
                    data = await stream.receive_some()
                    if not data:
                        return
                    raw += data
                raw = raw[len(request) :]
                asked = Asked(stream, connection, number, request)
                state.asked.append(asked)
                number += 1
                if isinstance(script, bytes):
                    await asked.answer(script)
                    return
                await script(asked)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(60):
            yield state
        nursery.cancel_scope.cancel()


def _whole(raw: bytes) -> bytes:
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return b""
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        if name.lower() == b"content-length":
            length = int(value)
    return head + end + body[:length] if len(body) >= length else b""
