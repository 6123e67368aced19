"""A listening HTTP/1.1 server on trio."""

from __future__ import annotations

import errno
import logging
import math
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from flowcore.config import Address
from flowcore.errors import FlowError
from flowcore.http.connection import Connection, Counts
from flowcore.http.limits import Limits
from flowcore.http.messages import Handler, Response, encode_response

logger = logging.getLogger(__name__)

SWEEP = 0.5
"""Seconds between two looks at the connections' deadlines: a deadline is late by at most this."""

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_GONE = (errno.ECONNABORTED, errno.EPERM, errno.EPROTO)

Context = Callable[[], ssl.SSLContext]


class CannotListen(FlowError):
    """The address cannot be listened on."""


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """What a server has done since it opened."""

    open: int
    connections: int
    requests: int
    refused: dict[int, int]
    """Answers by status that no handler saw."""
    failures: int
    """Requests whose handler raised."""
    disconnects: int
    """Requests whose client went away before its answer."""
    timeouts: int
    bytes_in: int
    bytes_out: int


class Server:
    """A server that listens. Made by `open_http_server`."""

    def __init__(
        self,
        handler: Handler,
        listeners: list[trio.SocketListener],
        limits: Limits,
        context: Context | None,
    ) -> None:
        self._handler = handler
        self._listeners = listeners
        self._limits = limits
        self._context = context
        self._connections: dict[int, Connection] = {}
        self._counts = Counts()
        self._draining = trio.Event()
        self._next = 0
        self._nursery: trio.Nursery
        self._accepting = trio.CancelScope()
        self._emptied = trio.Event()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What it listens on, with the ports that the system chose."""
        names = [listener.socket.getsockname() for listener in self._listeners]
        return tuple(Address(str(name[0]), int(name[1])) for name in names)

    def statistics(self) -> ServerStatistics:
        """What it has done since it opened."""
        counts = self._counts
        return ServerStatistics(
            open=len(self._connections),
            connections=counts.connections,
            requests=counts.requests,
            refused=dict(counts.refused),
            failures=counts.failures,
            disconnects=counts.disconnects,
            timeouts=counts.timeouts,
            bytes_in=counts.bytes_in,
            bytes_out=counts.bytes_out,
        )

    async def drain(self, seconds: float) -> bool:
        """Take no new connection, let requests end within `seconds`; whether all of them did."""
        self._accepting.cancel()
        self._draining.set()
        for connection in tuple(self._connections.values()):
            connection.nudge()
        with trio.move_on_after(seconds):
            while self._connections:
                self._emptied = trio.Event()
                await self._emptied.wait()
        return not self._connections

    async def _accept(self, listener: trio.SocketListener) -> None:
        with self._accepting:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno in _GONE:
                        continue
                    if error.errno not in _FULL:
                        raise
                    logger.error("no connection can be accepted: %s", error)
                    await trio.sleep(0.1)
                    continue
                self._nursery.start_soon(self._serve, stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._counts.connections += 1
        if len(self._connections) >= self._limits.connections:
            self._counts.refuse(503)
            await self._turn_away(stream)
            return
        peer = stream.socket.getpeername() if stream.socket.fileno() >= 0 else None
        client = str(peer[0]) if peer else ""
        number = self._next
        self._next += 1
        try:
            secured = await self._secured(stream)
            if secured is None:
                return
            connection = Connection(
                number,
                secured,
                client,
                self._handler,
                self._limits,
                self._counts,
                self._draining,
                secured is not stream,
            )
            self._connections[number] = connection
            await connection.serve()
        finally:
            self._connections.pop(number, None)
            if not self._connections:
                self._emptied.set()

    async def _secured(self, stream: trio.SocketStream) -> trio.abc.Stream | None:
        if self._context is None:
            return stream
        secured = trio.SSLStream(stream, self._context(), server_side=True, https_compatible=True)
        try:
            with trio.fail_after(self._limits.handshake_timeout):
                await secured.do_handshake()
        except (trio.TooSlowError, trio.BrokenResourceError) as error:
            self._counts.timeouts += isinstance(error, trio.TooSlowError)
            self._counts.refuse(0)
            await trio.aclose_forcefully(secured)
            return None
        return secured

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        response = Response(503, [(b"retry-after", b"1")], b"too many connections\n")
        with trio.move_on_after(1.0):
            try:
                await stream.send_all(encode_response(response, head_only=False, close=True))
            except trio.BrokenResourceError:
                self._counts.disconnects += 1
        await trio.aclose_forcefully(stream)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP)
            now = trio.current_time()
            for connection in tuple(self._connections.values()):
                if connection.deadline <= now:
                    self._counts.timeouts += 1
                    connection.deadline = math.inf
                    connection.scope.cancel()


@asynccontextmanager
async def open_http_server(
    handler: Handler,
    bind: Address,
    *,
    limits: Limits | None = None,
    context: Context | None = None,
) -> AsyncGenerator[Server]:
    """A server on `bind`, serving when entered; what still runs when the block is left is cancelled.

    With `context` every connection is TLS, with the SSLContext that it gives at that moment, so that
    certificates can be exchanged. Raises CannotListen.
    """
    try:
        listeners = await trio.open_tcp_listeners(bind.port, host=bind.host)
    except OSError as error:
        raise CannotListen(f"cannot listen on {bind}: {error.strerror or error}") from error
    server = Server(handler, listeners, limits or Limits(), context)
    try:
        async with trio.open_nursery() as nursery:
            server._nursery = nursery
            for listener in listeners:
                nursery.start_soon(server._accept, listener)
            nursery.start_soon(server._sweep)
            try:
                yield server
            finally:
                nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.socket.close()
