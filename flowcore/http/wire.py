"""What a connection reads from and writes to: a plain socket, without detours, or any trio stream.

trio's own `SocketStream` yields to the scheduler in each send and tries each read once in vain; on the hot
path that is half of the cost of a small request. Here a read waits first, and a send that the kernel takes
whole does not wait at all.
"""

from __future__ import annotations

import math
import socket
from typing import Protocol

import trio

from flowcore.http.pace import Pace

RECEIVE = 65536
"""Most bytes of one read."""
PROGRESS = 256 << 10
"""Bytes after whose sending the other side has shown that it reads: a write deadline begins anew."""
_ESTABLISHED = 1  # TCP_ESTABLISHED of netinet/tcp.h


class Wire(Protocol):
    """One connection's bytes. One task may receive while another sends."""

    blocked_since: float
    """Since when a send waits for the other side to read, on trio's clock; math.inf while none does."""
    pace: Pace
    """How often it is read."""

    async def receive(self, *, soon: bool = False) -> bytes:
        """Some bytes; b"" at the end. Raises trio.BrokenResourceError if the connection is lost.

        `soon` tells that others are to be served first, so that something will be there then.
        """
        ...

    async def receive_into(self, buffer: memoryview) -> int:
        """How many bytes came, which are in `buffer` then; 0 at the end. Raises trio.BrokenResourceError.

        It returns at once when they are in it, so that connections can share a buffer.
        """
        ...

    async def send(self, data: bytes | memoryview) -> bool:
        """Send all of it; no checkpoint if that takes no waiting. Raises trio.BrokenResourceError.

        True if it surely took none: the network keeps up.
        """
        ...

    def send_end(self) -> bool:
        """Say that nothing more will be sent; False if that cannot be said without closing."""
        ...

    def hung_up(self) -> bool:
        """Whether the other side has ended the connection, as far as can be told without reading."""
        ...

    def stale(self) -> bool:
        """Whether the other side has ended it, or said something, while nothing was asked of it."""
        ...

    async def close(self, *, polite: bool) -> None:
        """Close; politely is with the words the protocol has for it, else at once."""
        ...


class SocketWire:
    """A connected TCP socket, which it owns."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self.blocked_since = math.inf
        self.pace = Pace()

    async def receive(self, *, soon: bool = False) -> bytes:
        if soon:
            # a turn of the scheduler costs less than to have the kernel tell when there is something
            await trio.lowlevel.checkpoint()
            try:
                return self._socket.recv(RECEIVE)
            except BlockingIOError:
                pass
            except OSError as error:
                raise trio.BrokenResourceError(f"the connection was lost: {error}") from error
        if self.pace.due:
            await self.pace.pause()
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(RECEIVE)
            except BlockingIOError:
                continue  # readable, but a checksum was wrong: select(2), BUGS
            except OSError as error:
                raise trio.BrokenResourceError(f"the connection was lost: {error}") from error
            self.pace.took(len(data))
            return data

    async def receive_into(self, buffer: memoryview) -> int:
        if self.pace.due:
            await self.pace.pause()
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                came = self._socket.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"the connection was lost: {error}") from error
            self.pace.took(came)
            return came

    def send_now(self, data: bytes | memoryview) -> int:
        """How many bytes of it the network takes without waiting. Raises trio.BrokenResourceError."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(f"the connection was lost: {error}") from error

    async def send(self, data: bytes | memoryview) -> bool:
        sent = self.send_now(data)
        if sent == len(data):
            return True
        await self._send_rest(memoryview(data)[sent:])
        return False

    async def _send_rest(self, rest: memoryview) -> None:
        self.blocked_since = trio.current_time()
        progress = 0
        try:
            while rest:
                await trio.lowlevel.wait_writable(self._socket)
                try:
                    sent = self._socket.send(rest)
                except BlockingIOError:
                    continue
                rest = rest[sent:]
                progress += sent
                if progress >= PROGRESS:
                    self.blocked_since, progress = trio.current_time(), 0
        except OSError as error:
            raise trio.BrokenResourceError(f"the connection was lost: {error}") from error
        finally:
            self.blocked_since = math.inf

    def send_end(self) -> bool:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False  # it is gone already
        return True

    def hung_up(self) -> bool:
        try:
            state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:
            return True
        return state[0] != _ESTABLISHED

    def stale(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def close(self, *, polite: bool) -> None:
        del polite
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class StreamWire:
    """Any trio stream, such as one of TLS, which it owns."""

    def __init__(self, stream: trio.abc.Stream, pace: Pace | None = None) -> None:
        self._stream = stream
        self.blocked_since = math.inf
        self.pace = pace or Pace()

    async def receive(self, *, soon: bool = False) -> bytes:
        del soon
        return bytes(await self._stream.receive_some(RECEIVE))

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self._stream.receive_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    async def send(self, data: bytes | memoryview) -> bool:
        try:
            for start in range(0, len(data), PROGRESS):
                self.blocked_since = trio.current_time()
                await self._stream.send_all(data[start : start + PROGRESS])
            return False
        finally:
            self.blocked_since = math.inf

    def send_end(self) -> bool:
        return False

    def hung_up(self) -> bool:
        return False

    def stale(self) -> bool:
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, Paced):
            stream = stream.stream
        return isinstance(stream, trio.SocketStream) and stream.socket.is_readable()

    async def close(self, *, polite: bool) -> None:
        if polite:
            await self._stream.aclose()
        else:
            await trio.aclose_forcefully(self._stream)


class Paced(trio.abc.Stream):
    """A stream, which it owns, that is read at a pace: what lies below TLS."""

    def __init__(self, stream: trio.SocketStream, pace: Pace) -> None:
        self.stream = stream
        self._pace = pace

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Some bytes; b"" at the end."""
        if self._pace.due:
            await self._pace.pause()
        data = await self.stream.receive_some(max_bytes)
        self._pace.took(len(data))
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it."""
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until it may be sent without waiting."""
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close."""
        await self.stream.aclose()


def plain_socket(stream: trio.SocketStream) -> socket.socket:
    """The socket of a trio stream, which is of no use any more."""
    return socket.socket(fileno=stream.socket.detach())
