"""A listening HTTP/1.1 server on trio."""

from __future__ import annotations

import errno
import logging
import math
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from flowcore.config import Address
from flowcore.errors import FlowError
from flowcore.http.arrival import Arrival
from flowcore.http.connection import LINGER, Connection
from flowcore.http.encoding import CLOSE, encode_response
from flowcore.http.limits import Limits
from flowcore.http.messages import Handler, Response, Tls
from flowcore.http.pace import Pace
from flowcore.http.room import Room
from flowcore.http.state import SWEEP, ServerState, ServerStatistics
from flowcore.http.wire import Paced, SocketWire, StreamWire, Wire

logger = logging.getLogger(__name__)

Admits = Callable[[Tls, str], bool]
"""Tells whether a connection whose handshake is done may go on; also given the client's address."""
Context = Callable[[], ssl.SSLContext]
"""Gives the SSLContext of the next connection, so that certificates and CAs can be exchanged."""

_FULL = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_AT_ONCE = 64
"""Most connections accepted in one turn: with one a turn, whoever comes after a crowd waits for all of it."""
_RETRY = 0.05
"""Seconds until the next try to accept when a connection had to go for it."""
_COMPLAIN = 60.0
"""Seconds between two complaints that no connection can be accepted."""
_TURNED_AWAY = 100
"""Most connections at a time that are told that there are too many; more are closed without a word."""


class CannotListen(FlowError):
    """The address cannot be listened on."""


class Server:
    """A server that listens. Made by `open_http_server`."""

    def __init__(
        self,
        handler: Handler,
        listeners: list[socket.socket],
        limits: Limits,
        context: Context | None,
        admits: Admits | None,
        nursery: trio.Nursery,
    ) -> None:
        self._state = ServerState(handler, limits)
        self._state.now = trio.current_time()
        self._addresses = tuple(
            Address(str(name[0]), int(name[1]))
            for name in (listener.getsockname() for listener in listeners)
        )
        self._context = context
        self._admits = admits
        self._nursery = nursery
        self._accepting = trio.CancelScope()
        self._connections: set[Connection] = set()
        self._room = Room(limits.connections, limits.connections_per_address)
        self._handshakes: set[Arrival] = set()
        self._anteroom = Room(limits.handshakes, limits.connections_per_address)
        self._complained = -math.inf
        self._turned_away = 0
        self._next = 0
        self._emptied = trio.Event()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What it listens on, with the ports that the system chose."""
        return self._addresses

    @property
    def secure(self) -> bool:
        """Whether its connections are TLS."""
        return self._context is not None

    def statistics(self) -> ServerStatistics:
        """What it has done since it opened."""
        evicted = self._room.evicted + self._anteroom.evicted
        return self._state.statistics(open_now=self._open, evicted=evicted)

    @property
    def _open(self) -> int:
        return len(self._connections) + len(self._handshakes)

    async def drain(self, seconds: float) -> bool:
        """Take no new connection, let requests end within `seconds`; whether all of them did.

        Kept connections without a request are closed; `Request.draining` tells long answers to end.
        """
        self._accepting.cancel()
        self._state.draining.set()
        for connection in tuple(self._connections):
            connection.nudge()
        with trio.move_on_after(seconds):
            while self._open:
                self._emptied = trio.Event()
                await self._emptied.wait()
        return not self._open

    # ---- connections

    async def _accept(self, listener: socket.socket) -> None:
        with listener, self._accepting:
            while True:
                await trio.lowlevel.wait_readable(listener)
                for _ in range(_AT_ONCE):
                    try:
                        connected, peer = listener.accept()
                    except BlockingIOError:
                        break
                    except OSError as error:
                        if error.errno in _FULL:
                            await self._wait_for_room(error)
                        continue  # else that one went away while it waited: accept(2), ERRORS
                    self._state.connections += 1
                    self._nursery.start_soon(self._serve, connected, str(peer[0]))

    async def _wait_for_room(self, error: OSError) -> None:
        """The system has no room for another connection: let one go, and say so now and then."""
        now = trio.current_time()
        if now - self._complained >= _COMPLAIN:
            self._complained = now
            logger.error("no connection can be accepted for want of resources: %s", error)
        await trio.sleep(_RETRY if self._anteroom.evict() or self._room.evict() else SWEEP)

    async def _serve(self, connected: socket.socket, client: str) -> None:
        """One connection, whatever becomes of it: nothing that happens here may reach another."""
        try:
            if self._context is None:
                await self._serve_wire(SocketWire(connected), client, None)
            else:
                await self._serve_tls(connected, client, self._context)
        except Exception:
            logger.exception("a connection of %s failed", client)
            self._state.failures += 1
        finally:
            connected.close()
            if not self._open:
                self._emptied.set()

    async def _serve_tls(self, connected: socket.socket, client: str, context: Context) -> None:
        pace, raw = Pace(), trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        stream = trio.SSLStream(Paced(raw, pace), context(), server_side=True)
        pace.begin()
        if not await self._shake_hands(stream, client):
            self._state.refuse(0)
            await trio.aclose_forcefully(stream)
            return
        tls = _secured(stream)
        if self._admits is not None and not self._admits(tls, client):
            logger.warning("a certificate that may not come in, of %s: %s", client, tls.uris)
            self._state.refuse(0)
            await trio.aclose_forcefully(stream)
            return
        pace.end()
        await self._serve_wire(StreamWire(stream, pace), client, tls)

    async def _shake_hands(self, stream: trio.SSLStream[Paced], client: str) -> bool:
        """Whether the handshake was done, within its time and with room for it."""
        handshake = Arrival(client, trio.current_time())
        if not self._anteroom.admit(handshake):
            return False
        self._handshakes.add(handshake)
        try:
            with handshake.scope, trio.fail_after(self._state.limits.handshake_timeout):
                await stream.do_handshake()
                return True
        except trio.TooSlowError:
            self._state.timeouts += 1
        except trio.BrokenResourceError:
            return False
        finally:
            self._anteroom.leave(handshake)
            self._handshakes.discard(handshake)
        return False

    async def _serve_wire(self, wire: Wire, client: str, tls: Tls | None) -> None:
        self._next += 1
        connection = Connection(self._next, wire, client, tls, self._state)
        if not self._room.admit(connection):
            await self._turn_away(wire)
            return
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._room.leave(connection)
            self._connections.discard(connection)

    async def _turn_away(self, wire: Wire) -> None:
        """Say that there are too many connections, if that is soon done."""
        self._state.refuse(503)
        if self._turned_away < _TURNED_AWAY:
            self._turned_away += 1
            headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1"))
            response = Response(503, headers, b"too many connections\n")
            wire.pace.begin()
            try:
                with trio.move_on_after(LINGER):
                    await wire.send(encode_response(response, connection=CLOSE, head_only=False))
                    wire.send_end()
                    while await wire.receive():
                        pass
            except trio.BrokenResourceError:
                self._state.disconnects += 1
            finally:
                self._turned_away -= 1
        await wire.close(polite=True)

    async def _sweep(self) -> None:
        state = self._state
        while True:
            before = trio.current_time()
            await trio.sleep(SWEEP)
            state.now = trio.current_time()
            late = state.now - before - SWEEP  # this process was stopped, or its loop was held
            for connection in tuple(self._connections):
                if late > SWEEP:
                    connection.excuse(late)
                connection.look(state.now)


def _secured(stream: trio.SSLStream[Paced]) -> Tls:
    cipher = stream.cipher()
    names = (stream.getpeercert() or {}).get("subjectAltName", ())
    return Tls(
        version=stream.version() or "",
        cipher=cipher[0] if cipher else "",
        protocol=stream.selected_alpn_protocol(),
        certificate=stream.getpeercert(binary_form=True),
        uris=tuple(value for kind, value in names if kind == "URI"),
    )


@asynccontextmanager
async def open_http_server(
    handler: Handler,
    bind: Address,
    *,
    limits: Limits | None = None,
    context: Context | None = None,
    admits: Admits | None = None,
) -> AsyncGenerator[Server]:
    """A server on `bind`, serving when entered; what still runs when the block is left is cancelled.

    With `context` every connection is TLS, with the SSLContext that it gives at that moment, so that
    certificates can be exchanged; `admits` looks at each when its handshake is done, and closes it without
    a word where it says no. `Certificates` is both. Raises CannotListen.
    """
    try:
        opened = await trio.open_tcp_listeners(bind.port, host=bind.host)
    except OSError as error:
        raise CannotListen(f"cannot listen on {bind}: {error.strerror or error}") from error
    listeners = [socket.socket(fileno=one.socket.detach()) for one in opened]
    async with trio.open_nursery() as nursery:
        server = Server(handler, listeners, limits or Limits(), context, admits, nursery)
        for listener in listeners:
            nursery.start_soon(server._accept, listener)
        nursery.start_soon(server._sweep)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
