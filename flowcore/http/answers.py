"""What the client hands out: answers, whole or as they come."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator

import attrs
import trio

from flowcore.http.body import BodyReader
from flowcore.http.failures import BodyTooLarge, ProtocolFailure
from flowcore.http.fields import BadMessage, HeaderMap
from flowcore.http.head import ResponseHead, parse_response
from flowcore.http.wire import Wire

_INFORMATIONAL = 20
"""Most 1xx answers before the final one."""


class HeadReader:
    """Takes bytes in until the head of the final answer is whole; what follows it is in `rest`. Sans-IO."""

    def __init__(self, method: str, *, most: int, most_headers: int) -> None:
        self._method = method
        self._most = most
        self._most_headers = most_headers
        self._informational = 0
        self.rest = b""

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer has come."""
        return not self.rest and not self._informational

    def feed(self, data: bytes) -> ResponseHead | None:
        """The head, once it is whole. Raises BadMessage."""
        scanned = max(0, len(self.rest) - 3)
        self.rest = self.rest + data if self.rest else data
        while (end := self.rest.find(b"\r\n\r\n", scanned)) >= 0:
            end += 4
            if end > self._most:
                break
            raw = self.rest[:end]
            head = parse_response(raw, method=self._method, most_headers=self._most_headers)
            self.rest = self.rest[end:]
            if head.status >= 200:
                return head
            scanned = 0
            self._informational += 1
            if self._informational > _INFORMATIONAL or head.status == 101:
                raise BadMessage(502, "the answer does not come to its point")
        if len(self.rest) > self._most:
            raise BadMessage(502, f"the answer's head has more than {self._most} bytes")
        return None


@attrs.frozen
class ClientResponse:
    """A whole answer."""

    status: int
    headers: HeaderMap
    body: bytes


class ClientStream:
    """An answer whose body is read as it comes."""

    def __init__(self, wire: Wire, head: ResponseHead, rest: bytes) -> None:
        self._wire = wire
        self._rest = rest
        self._body = BodyReader(head.length, math.inf)
        self.status = head.status
        self.headers = head.headers
        self._keep_alive = head.keep_alive

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self._body.complete

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request."""
        return self._body.complete and self._keep_alive and not self._rest

    async def receive(self) -> bytes:
        """Some bytes of the body; b"" at its end. Raises ProtocolFailure if it is cut or malformed."""
        while not self._body.complete:
            data, self._rest = self._rest, b""
            if not data:
                data = await self._more()
                if not data:
                    if self._body.ended_by_close():
                        return b""
                    raise ProtocolFailure("the connection ended within the answer")
            if piece := self._feed(data):
                return piece
        return b""

    def _feed(self, data: bytes) -> bytes:
        pieces: list[bytes | memoryview] = []
        try:
            self._rest = bytes(self._body.feed(data, pieces.append))
        except BadMessage as error:
            raise ProtocolFailure(f"in the answer: {error}") from None
        return b"".join(pieces)

    async def _more(self) -> bytes:
        try:
            return await self._wire.receive()
        except trio.BrokenResourceError as error:
            raise ProtocolFailure("the connection was lost within the answer") from error

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece."""
        while piece := await self.receive():
            yield piece

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises BodyTooLarge for more than `limit` bytes."""
        announced = self._body.left
        if announced is not None and announced <= len(self._rest) and announced <= limit:
            return self._feed(self._rest)
        if announced is not None and announced > limit:
            raise BodyTooLarge(f"the answer has more than {limit} bytes")
        parts: list[bytes] = []
        size = 0
        while piece := await self.receive():
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(f"the answer has more than {limit} bytes")
            parts.append(piece)
        return b"".join(parts)
