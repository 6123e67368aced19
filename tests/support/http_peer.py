"""A raw peer of an HTTP server: sends bytes, right or wrong, and reads answers with h11, not our code."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import h11
import trio

from flowcore.config import Address
from flowcore.http import Handler, Limits, Request, Response, Server, open_http_server

LOCAL = Address("127.0.0.1", 0)


@attrs.frozen
class Reply:
    """One answer, whole."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    version: bytes = b"1.1"


class Peer:
    """One connection to a server."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        """Send bytes; a server that has closed already is no error."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._h11.next_event()
            if not isinstance(event, type) or not issubclass(event, h11.NEED_DATA):
                return event
            try:
                data = bytes(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                data = b""
            self._h11.receive_data(data)

    def expect(self, method: str = "GET") -> None:
        """Tell h11 that a request was sent, so that an answer is due."""
        if self._h11.our_state is h11.MUST_CLOSE or self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        request = h11.Request(method=method, target="/", headers=[("host", "x")])
        self._h11.send(request)
        self._h11.send(h11.EndOfMessage())

    async def reply(self, method: str = "GET") -> Reply:
        """The next final answer, whole. Raises h11.RemoteProtocolError if it is not HTTP."""
        self.expect(method)
        head = await self._next()
        while isinstance(head, h11.InformationalResponse):
            head = await self._next()
        assert isinstance(head, h11.Response), head
        body = b""
        while isinstance(event := await self._next(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        return Reply(head.status_code, dict(head.headers), body, head.http_version)

    async def ask(self, data: bytes, method: str = "GET") -> Reply:
        """Send and read the answer."""
        await self.send(data)
        return await self.reply(method)

    async def rest(self) -> bytes:
        """What comes until the server closes (a reset is an end, too)."""
        parts = [bytes(self._h11.trailing_data[0])]
        try:
            while data := await self.stream.receive_some(65536):
                parts.append(bytes(data))
        except trio.BrokenResourceError:
            pass
        return b"".join(parts)


@asynccontextmanager
async def open_peer(
    address: Address, context: ssl.SSLContext | None = None
) -> AsyncGenerator[Peer]:
    """A connection to a server, over TLS where a context is given."""
    plain = await trio.open_tcp_stream(address.host, address.port)
    stream: trio.abc.Stream = plain
    if context is not None:
        stream = trio.SSLStream(plain, context, server_hostname="flow.test")
    try:
        yield Peer(stream)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


async def echo(request: Request) -> Response:
    """Answers with what came."""
    text = f"{request.method} {request.target} ".encode()
    return Response(200, ((b"content-type", b"text/plain"),), text + request.body)


@asynccontextmanager
async def serving(
    handler: Handler = echo,
    limits: Limits | None = None,
    context: Callable[[], ssl.SSLContext] | None = None,
    within: float = 60,
) -> AsyncGenerator[tuple[Server, Address]]:
    """A server on a free port of loopback, and its address; the test is over `within` seconds."""
    async with open_http_server(handler, LOCAL, limits=limits, context=context) as server:
        with trio.fail_after(within):
            yield server, server.addresses[0]


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, target: bytes = b"/", more: bytes = b"") -> bytes:
    """A right POST request."""
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (
        target,
        len(body),
        more,
        body,
    )
