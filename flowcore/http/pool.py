"""The client's connections: kept by origin, each with an end of its own."""

from __future__ import annotations

import os
import re
import ssl
from collections import deque

import attrs
import trio

from flowcore.http.failures import ConnectFailed
from flowcore.http.fields import HeaderMap
from flowcore.http.url import Origin
from flowcore.http.wire import SocketWire, StreamWire, Wire, plain_socket

_TIMEOUT = re.compile(rb"(?:^|[,\s])timeout=(\d{1,9})(?:[,\s]|$)", re.IGNORECASE)
MARGIN = 1.0
"""Seconds before the other side's announced end of a kept connection after which it is not used."""


@attrs.define(eq=False)
class Link:
    """One connection."""

    wire: Wire
    context: ssl.SSLContext | None = None
    """By whose certificates it was made, if it is TLS."""
    until: float = 0.0
    """When it is too old to be used again, on trio's clock."""
    fresh: bool = True
    """Whether this is its first request."""


class Pool:
    """The connections to one origin."""

    def __init__(self, most: int) -> None:
        self.slots = trio.Semaphore(most, max_value=most)
        self._most = most
        self._idle: deque[Link] = deque()

    @property
    def unused(self) -> bool:
        """Whether nothing is under way and nothing kept."""
        return not self._idle and self.slots.value == self._most

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    async def take(self, now: float) -> Link | None:
        """The connection that was used last and is still good; those found dead are closed."""
        while self._idle:
            link = self._idle.pop()
            if now < link.until and not link.wire.stale():
                link.fresh = False
                return link
            await drop(link)
        return None

    async def keep(self, link: Link, until: float, most: int) -> None:
        """Keep a connection for another request, until then."""
        link.until = until
        self._idle.append(link)
        if len(self._idle) > most:
            await drop(self._idle.popleft())

    async def expire(self, now: float) -> None:
        """Close what is kept for too long, or was closed by the other side."""
        kept = [link for link in self._idle if now < link.until and not link.wire.stale()]
        dead = [link for link in self._idle if link not in kept]
        self._idle = deque(kept)
        for link in dead:
            await drop(link)

    async def clear(self) -> None:
        """Close all that is kept."""
        while self._idle:
            await drop(self._idle.pop())


async def drop(link: Link) -> None:
    """Close a connection at once."""
    with trio.CancelScope(shield=True):
        await link.wire.close(polite=False)


def kept_for(headers: HeaderMap, most: float) -> float:
    """Seconds that a connection may be kept after this answer: what the other side announced, or `most`."""
    announced = headers.get(b"keep-alive")
    if announced is not None and (match := _TIMEOUT.search(announced)):
        return min(most, int(match[1]) - MARGIN)
    return most


async def connect(
    origin: Origin,
    timeout: float,
    context: ssl.SSLContext | None,
    server_name: str | None = None,
) -> Wire:
    """A new connection, within `timeout` seconds. Raises ConnectFailed.

    `server_name` is the name in the server's certificate; unset: the origin's host.
    """
    try:
        with trio.fail_after(timeout):
            stream = await trio.open_tcp_stream(origin.host, origin.port)
            if context is None:
                return SocketWire(plain_socket(stream))
            secured = trio.SSLStream(
                stream, context, server_hostname=server_name or origin.host, https_compatible=True
            )
            try:
                await secured.do_handshake()
            except BaseException:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(secured)
                raise
            return StreamWire(secured)
    except trio.TooSlowError:
        text = f"no connection to {origin} within {timeout:g} s"
        raise ConnectFailed(text, sent=False) from None
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        text = f"no connection to {origin}: {_reason(error)}"
        raise ConnectFailed(text, sent=False) from error


def _reason(error: BaseException) -> str:
    """What lies at the bottom of a failure to connect, for a person."""
    if isinstance(error.__cause__, BaseExceptionGroup):
        return "; ".join(sorted({_reason(one) for one in error.__cause__.exceptions}))
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return error.__cause__.verify_message
    if isinstance(error.__cause__, (ssl.SSLEOFError, ssl.SSLSyscallError)):
        return "the other side ended the TLS handshake"
    if isinstance(error.__cause__, ssl.SSLError):
        return str(error.__cause__.reason or error.__cause__)
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(getattr(error, "strerror", None) or error)
