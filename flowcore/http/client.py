"""An HTTP/1.1 client on trio: kept connections by origin, bounded answers, one failing call fails alone."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import trio

from flowcore.http.answers import ClientResponse, ClientStream, HeadReader
from flowcore.http.encoding import encode_request_head
from flowcore.http.failures import ProtocolFailure
from flowcore.http.fields import BadMessage, Headers
from flowcore.http.head import ResponseHead
from flowcore.http.pool import Link, Pool, connect, drop, kept_for
from flowcore.http.url import Origin, split_url

IDEMPOTENT = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"))
"""What may be sent again when nothing is known of its first sending (RFC 9110 section 9.2.2)."""

_HEADERS = 200
"""Most headers of an answer."""

Context = ssl.SSLContext | Callable[[], ssl.SSLContext]
Message = tuple[bytes | memoryview, ...]
_COPIED = 1 << 15
"""Bytes of a body that are sent with the head as one piece, at most."""
_LOOK = 1.0
"""Seconds after which a kept connection is used only if certificates are still what they were."""


class Client:
    """Requests to any origin. Made by `open_client`."""

    def __init__(
        self,
        *,
        most_connections: int,
        most_idle: int,
        idle_timeout: float,
        connect_timeout: float,
        head: int,
        body: int,
        context: Context | None,
        server_name: str | None,
    ) -> None:
        self._most_connections = most_connections
        self._most_idle = most_idle
        self._idle_timeout = idle_timeout
        self._connect_timeout = connect_timeout
        self._head = head
        self._body = body
        self._source = context
        self._server_name = server_name
        self._context: ssl.SSLContext | None = None
        self._looked = -float("inf")
        self._pools: dict[Origin, Pool] = {}
        self._expired = 0.0

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes | memoryview = b"",
        idempotent: bool | None = None,
    ) -> ClientResponse:
        """Send a request and read the whole answer. Raises HttpError; the deadline is the caller's scope.

        A request that is `idempotent` (unset: by its method) is sent once more when a kept connection
        proves dead before a byte of an answer came.
        """
        origin, target = split_url(url)
        message = _message(method, target, origin, headers, body)
        pool, link, answer = await self._exchange(origin, method, message, idempotent)
        try:
            data = await answer.read(self._body)
        except BaseException:
            await self._done(pool, link, None)
            raise
        await self._done(pool, link, answer)
        return ClientResponse(answer.status, answer.headers, data)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes | memoryview = b"",
        idempotent: bool | None = None,
    ) -> AsyncGenerator[ClientStream]:
        """Send a request; the answer's body is read within the block.

        Leaving the block before the body's end closes the connection, which cancels the work there.
        """
        origin, target = split_url(url)
        message = _message(method, target, origin, headers, body)
        pool, link, answer = await self._exchange(origin, method, message, idempotent)
        try:
            yield answer
        except BaseException:
            await self._done(pool, link, None)
            raise
        await self._done(pool, link, answer)

    async def close(self) -> None:
        """Close every kept connection."""
        for pool in self._pools.values():
            await pool.clear()

    # ---- connections

    async def _exchange(
        self, origin: Origin, method: str, message: Message, idempotent: bool | None
    ) -> tuple[Pool, Link, ClientStream]:
        """Send on a kept connection or a new one, and read the answer's head."""
        again = method in IDEMPOTENT if idempotent is None else idempotent
        while True:
            pool, link = await self._take(origin)
            try:
                head, rest = await self._send(link, method, message)
            except ProtocolFailure as error:
                await self._done(pool, link, None)
                if again and error.silent and not link.fresh:
                    # it was closed just as it was used, and so will be the others that are kept
                    await pool.clear()
                    continue
                raise
            except BaseException:
                await self._done(pool, link, None)
                raise
            return pool, link, ClientStream(link.wire, head, rest)

    async def _take(self, origin: Origin) -> tuple[Pool, Link]:
        """A connection, and the right to use it: given back by `_done`."""
        now = trio.current_time()
        if now - self._expired > self._idle_timeout / 2:
            self._expired = now
            await self._expire(now)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(self._most_connections)
        try:
            pool.slots.acquire_nowait()
        except trio.WouldBlock:
            await pool.slots.acquire()
        try:
            if origin.secure and now - self._looked >= _LOOK:
                await self._tls(now)
            link = await pool.take(now)
            if link is None:
                context = await self._tls(now) if origin.secure else None
                wire = await connect(origin, self._connect_timeout, context, self._server_name)
                link = Link(wire, context)
        except BaseException:
            pool.slots.release()
            raise
        return pool, link

    async def _done(self, pool: Pool, link: Link, answer: ClientStream | None) -> None:
        """Give a connection back: kept, if its answer was read to the end and allows it; else closed."""
        try:
            outdated = link.context is not None and link.context is not self._context
            if answer is None or not answer.reusable or outdated:
                await drop(link)
            else:
                seconds = kept_for(answer.headers, self._idle_timeout)
                await pool.keep(link, trio.current_time() + seconds, self._most_idle)
        finally:
            pool.slots.release()

    async def _expire(self, now: float) -> None:
        for origin, pool in tuple(self._pools.items()):
            await pool.expire(now)
            if pool.unused:
                self._pools.pop(origin, None)

    async def _tls(self, now: float) -> ssl.SSLContext:
        """The context for connections that begin now; when it is another one, what was kept is closed."""
        self._looked = now
        if self._source is None:
            # once, and in a thread: reading the system's certificates takes tens of milliseconds
            self._source = await trio.to_thread.run_sync(_default_context, abandon_on_cancel=True)
        before = self._context
        made = self._source() if callable(self._source) else self._source
        self._context = made
        if before is not None and before is not made:
            for origin, pool in tuple(self._pools.items()):
                if origin.secure:
                    await pool.clear()
        return made

    async def _send(self, link: Link, method: str, message: Message) -> tuple[ResponseHead, bytes]:
        wire = link.wire
        with suppress(trio.BrokenResourceError):  # it may have answered before it had read all
            for part in message:
                await wire.send(part)
        reader = HeadReader(method, most=self._head, most_headers=_HEADERS)
        while True:
            try:
                data = await wire.receive()
            except trio.BrokenResourceError as error:
                text = "the connection was lost before the answer"
                raise ProtocolFailure(text, silent=reader.silent) from error
            if not data:
                text = "the connection ended before the answer"
                raise ProtocolFailure(text, silent=reader.silent)
            try:
                head = reader.feed(data)
            except BadMessage as error:
                raise ProtocolFailure(str(error)) from None
            if head is not None:
                return head, reader.rest


def _message(
    method: str, target: str, origin: Origin, headers: Headers, body: bytes | memoryview
) -> Message:
    """A request's bytes: in one piece, unless its body is large, of which no copy is made then."""
    head = encode_request_head(method, target, origin.authority, headers, len(body))
    return (head, body) if len(body) > _COPIED else (b"".join((head, body)),)


def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


@asynccontextmanager
async def open_client(
    *,
    most_connections: int = 256,
    most_idle: int = 64,
    idle_timeout: float = 30.0,
    connect_timeout: float = 5.0,
    head: int = 64 << 10,
    body: int = 16 << 20,
    context: Context | None = None,
    server_name: str | None = None,
) -> AsyncGenerator[Client]:
    """A client with up to `most_connections` requests under way to an origin; more wait, in order.

    Up to `most_idle` connections an origin are kept for `idle_timeout` seconds. `head` and `body` bound an
    answer, in bytes. `context` is what https connections use, or gives it, so that certificates can be
    exchanged (`ClientCertificates`); unset, TLS 1.3 with the system's certificates. `server_name` is the name
    that a server's certificate must have, where that is not the URL's host.
    """
    client = Client(
        most_connections=most_connections,
        most_idle=most_idle,
        idle_timeout=idle_timeout,
        connect_timeout=connect_timeout,
        head=head,
        body=body,
        context=context,
        server_name=server_name,
    )
    try:
        yield client
    finally:
        await client.close()
