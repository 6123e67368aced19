"""An HTTP/1.1 client on trio: kept connections by origin, bounded answers, one failing call fails alone."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import trio

from flowcore.errors import FlowError
from flowcore.http.body import BodyReader
from flowcore.http.fields import BadMessage as BadHead
from flowcore.http.fields import HeaderMap
from flowcore.http.head import ResponseHead, parse_response

RECEIVE = 65536
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class HttpError(FlowError):
    """A request that got no whole answer. `sent` tells whether the other side may have seen it."""

    def __init__(self, message: str, *, sent: bool, silent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.silent = silent
        """Whether not a byte of an answer came."""


class ConnectFailed(HttpError):
    """No connection could be made; nothing was sent."""


class ProtocolFailure(HttpError):
    """The answer is not HTTP/1.1, or the connection ended within it."""


class BodyTooLarge(HttpError):
    """The answer's body is larger than allowed."""


@attrs.frozen
class Origin:
    """Where requests of a URL go."""

    secure: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def split_url(url: str) -> tuple[Origin, str]:
    """(origin, target) of an absolute http or https URL. Raises ValueError saying what is wrong."""
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise ValueError(f"expected a URL of visible ASCII, not {url!r}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected an absolute http or https URL, not {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected a URL without user and password; use headers")
    secure = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(secure, parts.hostname, port), target


@attrs.frozen
class ClientResponse:
    """A whole answer."""

    status: int
    headers: HeaderMap
    body: bytes


class ClientStream:
    """An answer whose body is read as it comes."""

    def __init__(self, link: _Link, head: ResponseHead, rest: bytes) -> None:
        self._link = link
        self._body = BodyReader(head.length, 1 << 40)
        self._rest = rest
        self.status = head.status
        self.headers = head.headers
        self.keep_alive = head.keep_alive

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self._body.complete

    async def receive(self) -> bytes:
        """Some bytes of the body; b"" at its end. Raises ProtocolFailure if it is cut."""
        while not self._body.complete:
            data, self._rest = self._rest, b""
            if not data:
                data = await self._link.receive()
                if not data:
                    if self._body.ended_by_close():
                        return b""
                    raise ProtocolFailure("the connection ended within the answer", sent=True)
            try:
                piece, rest = self._body.feed(data)
            except BadHead as error:
                raise ProtocolFailure(str(error), sent=True) from None
            if rest:
                self.keep_alive = False  # the other side says more than it was asked
            if piece:
                return piece
        return b""

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece."""
        while piece := await self.receive():
            yield piece


@attrs.define(eq=False)
class _Link:
    """One connection."""

    stream: trio.abc.Stream
    used: float
    fresh: bool = True

    async def receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(RECEIVE))
        except trio.BrokenResourceError as error:
            raise ProtocolFailure("the connection was lost", sent=True) from error

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)

    def stale(self) -> bool:
        """Whether the other side has closed it, or said something nobody asked for."""
        stream = self.stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if not isinstance(stream, trio.SocketStream):
            return False
        return stream.socket.is_readable()


class Client:
    """Requests to any origin. Made by `open_client`."""

    def __init__(
        self,
        *,
        most_idle: int,
        idle_timeout: float,
        connect_timeout: float,
        head: int,
        body: int,
        context: ssl.SSLContext | None,
    ) -> None:
        self._most_idle = most_idle
        self._idle_timeout = idle_timeout
        self._connect_timeout = connect_timeout
        self._head = head
        self._body = body
        self._context = context
        self._idle: dict[Origin, deque[_Link]] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> ClientResponse:
        """Send a request and read the whole answer. Raises HttpError; the deadline is the caller's scope."""
        async with self.stream(method, url, headers=headers, body=body) as response:
            parts: list[bytes] = []
            size = 0
            while piece := await response.receive():
                size += len(piece)
                if size > self._body:
                    raise BodyTooLarge(f"the answer has more than {self._body} bytes", sent=True)
                parts.append(piece)
            return ClientResponse(response.status, response.headers, b"".join(parts))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> AsyncGenerator[ClientStream]:
        """Send a request; the answer's body is read within the block.

        Leaving the block before the body's end closes the connection, which cancels the work there.
        """
        origin, target = split_url(url)
        message = encode_request(method, target, origin, headers, body)
        link, head, rest = await self._exchange(origin, method, message)
        response = ClientStream(link, head, rest)
        kept = False
        try:
            yield response
            kept = response.complete and response.keep_alive
        finally:
            if kept:
                self._keep(origin, link)
            else:
                with trio.CancelScope(shield=True):
                    await link.close()

    async def _exchange(
        self, origin: Origin, method: str, message: bytes
    ) -> tuple[_Link, ResponseHead, bytes]:
        """Send on a kept connection or a new one; a kept one that proves dead is replaced once."""
        while True:
            link = await self._link(origin)
            try:
                head, rest = await self._send(link, method, message)
            except ProtocolFailure as error:
                await self._drop(link)
                # the other side closed a kept connection just as it was used: nothing was answered
                if not link.fresh and error.silent and method in SAFE:
                    continue
                raise
            except BaseException:
                await self._drop(link)
                raise
            return link, head, rest

    async def _drop(self, link: _Link) -> None:
        with trio.CancelScope(shield=True):
            await link.close()

    async def _send(self, link: _Link, method: str, message: bytes) -> tuple[ResponseHead, bytes]:
        try:
            await link.stream.send_all(message)
        except trio.BrokenResourceError as error:
            raise ProtocolFailure("the connection was lost", sent=True, silent=True) from error
        buffer = bytearray()
        informational = 0
        while True:
            end = buffer.find(b"\r\n\r\n")
            if end >= 0:
                try:
                    head = parse_response(bytes(buffer[: end + 4]), method=method, most_headers=200)
                except BadHead as error:
                    raise ProtocolFailure(str(error), sent=True) from None
                del buffer[: end + 4]
                if head.status >= 200:
                    return head, bytes(buffer)
                informational += 1
                if informational > 20 or head.status == 101:
                    raise ProtocolFailure("the answer does not come to its point", sent=True)
                continue
            if len(buffer) > self._head:
                raise ProtocolFailure(
                    f"the answer's head has more than {self._head} bytes", sent=True
                )
            data = await link.receive()
            if not data:
                silent = not buffer and not informational
                text = "the connection ended before the answer"
                raise ProtocolFailure(text, sent=True, silent=silent)
            buffer += data

    async def _link(self, origin: Origin) -> _Link:
        now = trio.current_time()
        idle = self._idle.get(origin)
        while idle:
            link = idle.pop()
            if now - link.used <= self._idle_timeout and not link.stale():
                link.fresh = False
                return link
            await self._drop(link)
        return _Link(await self._connect(origin), now)

    async def _connect(self, origin: Origin) -> trio.abc.Stream:
        where = f"{origin.host}:{origin.port}"
        try:
            with trio.fail_after(self._connect_timeout):
                stream: trio.SocketStream = await trio.open_tcp_stream(origin.host, origin.port)
                if not origin.secure:
                    return stream
                if self._context is None:
                    # made once: it costs tens of milliseconds
                    self._context = ssl.create_default_context()
                secured = trio.SSLStream(
                    stream, self._context, server_hostname=origin.host, https_compatible=True
                )
                try:
                    await secured.do_handshake()
                except BaseException:
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(secured)
                    raise
                return secured
        except trio.TooSlowError:
            text = f"no connection to {where} within {self._connect_timeout:g} s"
            raise ConnectFailed(text, sent=False) from None
        except (OSError, trio.BrokenResourceError) as error:
            reason = getattr(error.__cause__ or error, "strerror", None) or error.__cause__ or error
            raise ConnectFailed(f"no connection to {where}: {reason}", sent=False) from error

    def _keep(self, origin: Origin, link: _Link) -> None:
        idle = self._idle.setdefault(origin, deque())
        link.used = trio.current_time()
        idle.append(link)
        while len(idle) > self._most_idle:
            surplus = idle.popleft()
            _close_now(surplus)

    async def close(self) -> None:
        """Close every kept connection."""
        for idle in self._idle.values():
            while idle:
                await self._drop(idle.pop())


def _close_now(link: _Link) -> None:
    stream = link.stream
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        stream.socket.close()


def encode_request(
    method: str, target: str, origin: Origin, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> bytes:
    """The bytes of a request. Raises ValueError for a header that would break out of its line."""
    parts = [f"{method} {target} HTTP/1.1\r\nhost: {origin.authority}\r\n".encode("ascii")]
    for name, value in headers:
        if b"\r" in value or b"\n" in value or b"\0" in value or b"\n" in name or b":" in name:
            raise ValueError(f"header {name!r} holds a character that headers cannot")
        parts.append(b"%b: %b\r\n" % (name, value))
    if body or method in ("POST", "PUT", "PATCH"):
        parts.append(b"content-length: %d\r\n" % len(body))
    parts.append(b"\r\n")
    parts.append(body)
    return b"".join(parts)


@asynccontextmanager
async def open_client(
    *,
    most_idle: int = 64,
    idle_timeout: float = 30.0,
    connect_timeout: float = 5.0,
    head: int = 64 << 10,
    body: int = 16 << 20,
    context: ssl.SSLContext | None = None,
) -> AsyncGenerator[Client]:
    """A client that keeps up to `most_idle` connections an origin, each for `idle_timeout` seconds.

    `head` and `body` bound an answer, in bytes. `context` is what https connections use; unset, the
    system's certificates are, loaded once when first needed.
    """
    client = Client(
        most_idle=most_idle,
        idle_timeout=idle_timeout,
        connect_timeout=connect_timeout,
        head=head,
        body=body,
        context=context,
    )
    try:
        yield client
    finally:
        await client.close()
