"""TCP and UDP under the links: listening, connecting, and datagrams on the same port."""

from __future__ import annotations

import errno
import ipaddress
import math
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from flowcore.config import Address
from flowcore.config.values import parse_address
from flowcore.errors import LinkFailed, SwarmError

MOST_DATAGRAM = 1400
"""Bytes of a datagram, at most: what goes through any network in one packet."""
_TRIES = 20
_QUEUE = 1024
_AT_ONCE = 64
_RESOLVED = 60.0
"""Seconds for which a host's name keeps its address."""
_NAMES = 4096


class CannotListen(SwarmError):
    """The address cannot be listened on."""


def parse(address: str) -> Address:
    """`host:port`. Raises LinkFailed."""
    try:
        return parse_address(address)
    except ValueError as error:
        raise LinkFailed(f"{address!r} is no address: {error}") from None


async def connect_tcp(address: str) -> trio.abc.Stream:
    """A TCP connection. Raises LinkFailed."""
    target = parse(address)
    try:
        return await trio.open_tcp_stream(target.host, target.port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LinkFailed(f"cannot connect: {reason}") from None


@asynccontextmanager
async def open_ports(
    bind: str,
) -> AsyncGenerator[tuple[trio.SocketListener, UdpDatagrams, Address]]:
    """A TCP listener and datagrams on the same port, and where that is; port 0 takes one that is free.

    Raises CannotListen.
    """
    wanted = parse(bind)
    for attempt in range(_TRIES):
        listener = await _listen(wanted)
        name = listener.socket.getsockname()
        host, port = str(name[0]), int(name[1])
        try:
            udp = _datagrams(listener.socket.family, Address(host, port))
        except OSError as error:
            await listener.aclose()
            if wanted.port or error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                raise CannotListen(f"cannot take datagrams on {bind}: {error.strerror}") from error
            continue
        break
    with udp:  # until nobody waits for it any more
        async with listener, trio.open_nursery() as nursery:
            datagrams = UdpDatagrams(udp, nursery)
            nursery.start_soon(datagrams.run)
            try:
                yield listener, datagrams, Address(wanted.host, port)
            finally:
                nursery.cancel_scope.cancel()


async def _listen(wanted: Address) -> trio.SocketListener:
    try:
        first, *others = await trio.open_tcp_listeners(wanted.port, host=wanted.host)
    except OSError as error:
        raise CannotListen(f"cannot listen on {wanted}: {error.strerror or error}") from error
    for one in others:  # a name with several addresses: the first counts, for datagrams too
        await one.aclose()
    return first


def _datagrams(family: int, bind: Address) -> socket.socket:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        udp.bind((bind.host, bind.port))
    except OSError:
        udp.close()
        raise
    return udp


class UdpDatagrams:
    """See `flowcore.swarm.Datagrams`: a UDP socket that drops what is too much or too large, and counts."""

    def __init__(self, udp: socket.socket, nursery: trio.Nursery) -> None:
        self._socket = udp
        self._nursery = nursery
        self._send, self._receive = trio.open_memory_channel[tuple[str, bytes]](_QUEUE)
        self._known: OrderedDict[str, tuple[Any, float]] = OrderedDict()
        self._asked: dict[str, bytes] = {}
        self.sent = self.received = self.oversize = self.overflow = self.unsent = 0

    def post(self, address: str, data: bytes) -> None:
        """Send, without waiting; what cannot be sent is dropped and counted."""
        if len(data) > MOST_DATAGRAM:
            self.oversize += 1
            return
        target = self._target(address)
        if target is not None:
            self._transmit(target, data)
        elif address in self._asked:
            self.unsent += 1
        elif len(self._asked) < _QUEUE:
            self._asked[address] = data
            self._nursery.start_soon(self._resolve, address)
        else:
            self.unsent += 1

    async def receive(self) -> tuple[str, bytes]:
        """The next one: from which address, and what."""
        return await self._receive.receive()

    def status(self) -> dict[str, int]:
        """What was sent, received and dropped."""
        return {
            "sent": self.sent,
            "received": self.received,
            "oversize": self.oversize,
            "overflow": self.overflow,
            "unsent": self.unsent,
        }

    async def run(self) -> None:
        """Take datagrams in until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(_AT_ONCE):
                try:
                    data, peer = self._socket.recvfrom(MOST_DATAGRAM + 1)
                except BlockingIOError:
                    break
                except OSError:  # one that was sent was refused: udp(7) tells of it here
                    self.unsent += 1
                    continue
                self._arrive(data, Address(str(peer[0]), int(peer[1])))

    def _arrive(self, data: bytes, peer: Address) -> None:
        if len(data) > MOST_DATAGRAM:
            self.oversize += 1
            return
        try:
            self._send.send_nowait((str(peer), data))
        except trio.WouldBlock:
            self.overflow += 1
        else:
            self.received += 1

    def _target(self, address: str) -> Any:
        found = self._known.get(address)
        if found is None:
            target = _numeric(address)
            if target is not None:
                self._know(address, target, math.inf)
            return target
        if found[1] <= trio.current_time():
            del self._known[address]
            return None
        return found[0]

    def _know(self, address: str, target: Any, until: float) -> None:
        self._known[address] = target, until
        while len(self._known) > _NAMES:
            self._known.popitem(last=False)

    async def _resolve(self, address: str) -> None:
        """Find where a host is, and send what waits for that."""
        try:
            target = parse(address)
            with trio.move_on_after(5):
                found = await trio.socket.getaddrinfo(
                    target.host, target.port, self._socket.family, socket.SOCK_DGRAM
                )
                self._know(address, found[0][4], trio.current_time() + _RESOLVED)
                self._transmit(found[0][4], self._asked[address])
                return
            self.unsent += 1
        except (LinkFailed, OSError):
            self.unsent += 1
        finally:
            del self._asked[address]

    def _transmit(self, target: Any, data: bytes) -> None:
        try:
            self._socket.sendto(data, target)
        except OSError:  # no room, or no way there
            self.unsent += 1
        else:
            self.sent += 1


def _numeric(address: str) -> tuple[str, int] | None:
    """Where an address is that needs no asking; None for a host's name, or for none at all."""
    try:
        parsed = parse_address(address)
        ipaddress.ip_address(parsed.host)
    except ValueError:
        return None
    return parsed.host, parsed.port
