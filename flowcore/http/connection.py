"""One connection of a client: a reader that never stops, and a turn for each request.

The reader is one task for the connection's whole life, so that a client that goes away is noticed while its
request is being worked on, and cancels it. A client that only stops sending (half-close) counts as gone.
Deadlines are one number per connection that the server's sweeper compares with the clock: no timer per read.
"""

from __future__ import annotations

import logging
import math
from collections import deque

import trio

from flowcore.http.body import BodyReader
from flowcore.http.head import BadHead, RequestHead, parse_request
from flowcore.http.limits import Limits
from flowcore.http.messages import (
    Handler,
    Request,
    Response,
    Stream,
    encode_response,
    encode_stream_head,
)

logger = logging.getLogger(__name__)

RECEIVE = 65536


class Counts:
    """What a server counts over all its connections."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connections",
        "disconnects",
        "failures",
        "refused",
        "requests",
        "timeouts",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.refused: dict[int, int] = {}
        self.failures = 0
        self.disconnects = 0
        self.timeouts = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def refuse(self, status: int) -> None:
        """Count an answer that the handler never saw."""
        self.refused[status] = self.refused.get(status, 0) + 1


class Connection:
    """One client's connection, from its first byte to its end."""

    def __init__(
        self,
        number: int,
        stream: trio.abc.Stream,
        client: str,
        handler: Handler,
        limits: Limits,
        counts: Counts,
        draining: trio.Event,
        secure: bool,
    ) -> None:
        self.number = number
        self.scope = trio.CancelScope()
        self.deadline = trio.current_time() + limits.head_timeout
        """When the sweeper ends the connection, on trio's clock; math.inf while a request is worked on."""
        self.idle = True
        self._stream = stream
        self._client = client
        self._handler = handler
        self._limits = limits
        self._counts = counts
        self._draining = draining
        self._secure = secure
        self._turn: deque[tuple[RequestHead, bytes] | BadHead] = deque()
        self._came = trio.Event()
        self._taken = trio.Event()
        self._buffer = bytearray()
        self._eof = False
        self._last = False
        self._sending = 0

    async def serve(self) -> None:
        """Serve requests until either side ends the connection."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, nursery.cancel_scope)
                    await self._answer_all()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            self._counts.disconnects += 1
        finally:
            with trio.move_on_after(1.0, shield=True):
                await trio.aclose_forcefully(self._stream)

    # ---- reading

    async def _read(self, scope: trio.CancelScope) -> None:
        body: BodyReader | None = None
        head: RequestHead | None = None
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                if head is None:
                    head = self._take_head()
                    if head is not None:
                        body, parts, size = BodyReader(head.framing), [], 0
                        if head.framing.length > self._limits.body:
                            raise self._too_large()
                        if head.expects and not body.complete and not self._buffer:
                            await self._stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                        if not body.complete and not self._turn and self.idle:
                            self.deadline = trio.current_time() + self._limits.body_timeout
                if head is not None and body is not None:
                    if not body.complete and self._buffer:
                        piece, rest = body.feed(bytes(self._buffer))
                        self._buffer[:] = rest
                        size += len(piece)
                        if size > self._limits.body:
                            raise self._too_large()
                        parts.append(piece)
                    if body.complete:
                        await self._enqueue(head, b"".join(parts))
                        head = body = None
                        if self._buffer:
                            continue
                data = await self._stream.receive_some(RECEIVE)
                if not data:
                    break
                self._counts.bytes_in += len(data)
                self._buffer += data
        except BadHead as error:
            self._turn.append(error)
            self._came.set()
            return
        except trio.BrokenResourceError:
            pass  # the same as an end: whoever was being answered is gone
        if not self.idle:
            self._counts.disconnects += 1
        scope.cancel()

    def _too_large(self) -> BadHead:
        return BadHead(413, f"the body has more than {self._limits.body} bytes")

    def _take_head(self) -> RequestHead | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: empty lines before a request
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if b"\n\n" in buffer or b"\n\r\n" in buffer.replace(b"\r\n\r\n", b""):
                raise BadHead(400, "a line ends without a carriage return")
            if len(buffer) > self._limits.head:
                raise self._head_too_large()
            if buffer.startswith(b"PRI * HTTP/2.0\r\n"):
                raise BadHead(505, "HTTP/2 is not spoken here")
            return None
        head = bytes(buffer[: end + 4])
        if len(head) > self._limits.head:
            raise self._head_too_large()
        del buffer[: end + 4]
        return parse_request(
            head, most_headers=self._limits.headers, most_target=self._limits.target
        )

    def _head_too_large(self) -> BadHead:
        line = self._buffer.find(b"\r\n")
        if line < 0 or line > self._limits.target + 32:
            return BadHead(414, f"the target has more than {self._limits.target} bytes")
        return BadHead(431, f"the head has more than {self._limits.head} bytes")

    async def _enqueue(self, head: RequestHead, body: bytes) -> None:
        while len(self._turn) >= self._limits.pipeline:
            self._taken = trio.Event()
            await self._taken.wait()
        self._turn.append((head, body))
        self._came.set()

    # ---- answering

    async def _answer_all(self) -> None:
        while not self._last:
            if not self._turn:
                if self._draining.is_set():
                    return
                self._came = trio.Event()
                await self._came.wait()
                if not self._turn:
                    continue
            taken = self._turn.popleft()
            self._taken.set()
            if isinstance(taken, BadHead):
                await self._refuse(taken)
                return
            self.idle = False
            self.deadline = math.inf
            await self._answer(*taken)
            self.idle = True
            self.deadline = trio.current_time() + self._limits.idle_timeout

    def nudge(self) -> None:
        """Look again whether there is anything to do (the server is draining)."""
        self._came.set()

    async def _refuse(self, error: BadHead) -> None:
        self._counts.refuse(error.status)
        body = f"{error}\n".encode()
        response = Response(error.status, [(b"content-type", b"text/plain; charset=utf-8")], body)
        await self._send(encode_response(response, head_only=False, close=True))
        await self._linger()

    async def _linger(self) -> None:
        """Let the client read the refusal: closing at once would reset what it has not read yet."""
        if isinstance(self._stream, trio.SocketStream):
            self._stream.socket.shutdown(trio.socket.SHUT_WR)
            with trio.move_on_after(1.0):
                read = 0
                while read < self._limits.body and (
                    chunk := await self._stream.receive_some(RECEIVE)
                ):
                    read += len(chunk)

    async def _answer(self, head: RequestHead, body: bytes) -> None:
        self._counts.requests += 1
        request = Request(
            head.method,
            head.target,
            head.headers,
            body,
            self._client,
            self.number,
            self._draining,
            self._secure,
        )
        try:
            answer = await self._handler(request)
        except Exception:
            # the handler's fault: one answer without its inside, and everybody else goes on
            logger.exception("the handler failed on %s %s", head.method, request.path[:200])
            self._counts.failures += 1
            answer = Response(500, [(b"content-type", b"text/plain")], b"internal error\n")
        keep = head.keep_alive and not self._draining.is_set()
        if isinstance(answer, Response):
            self._last = not keep or answer.close
            head_only = head.method == "HEAD"
            await self._send(encode_response(answer, head_only=head_only, close=self._last))
        else:
            try:
                await self._stream_answer(head, answer, keep)
            finally:
                if answer.close is not None:
                    answer.close()

    async def _stream_answer(self, head: RequestHead, answer: Stream, keep: bool) -> None:
        chunked = head.minor == 1
        self._last = not (keep and chunked)
        await self._send(encode_stream_head(answer, chunked=chunked, close=self._last))
        if head.method == "HEAD":
            return

        async def send(data: bytes) -> None:
            if data:
                await self._send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)

        try:
            await answer.run(send)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception:
            logger.exception("a stream of %s %s failed", head.method, head.target[:200])
            self._counts.failures += 1
            self._last = (
                True  # the end of the chunks is not sent, so the client sees that it is cut
            )
            return
        if chunked:
            await self._send(b"0\r\n\r\n")

    async def _send(self, data: bytes) -> None:
        self._counts.bytes_out += len(data)
        self.deadline = trio.current_time() + self._limits.write_timeout
        await self._stream.send_all(data)
        self.deadline = math.inf
