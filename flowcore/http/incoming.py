"""Bytes in, whole requests out. Sans-IO: knows nothing of sockets, tasks or clocks."""

from __future__ import annotations

import enum
import re
from io import BytesIO
from typing import NoReturn

import msgspec

from flowcore.http.body import EACH_OF_REQUEST, BodyReader, too_large
from flowcore.http.fields import BadMessage
from flowcore.http.head import CHUNKED, RequestHead, parse_request
from flowcore.http.limits import Limits

_BARE = re.compile(rb"(?<!\r)\n")


class Phase(enum.Enum):
    """What the next bytes belong to."""

    BETWEEN = "between requests"
    HEAD = "head"
    BODY = "body"


BETWEEN, HEAD, BODY = Phase  # looking them up in it costs on every request


class Incoming(msgspec.Struct, eq=False):
    """One request as it came, whole."""

    head: RequestHead
    body: bytes


class RequestReader:
    """The requests of one connection, one after the other, each within the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._start = 0  # what is before it was taken
        self._scanned = 0  # before it there is no end of a head
        self._head: RequestHead | None = None
        self._body: BodyReader | None = None
        self._came = BytesIO()  # of the body: it grows in place, and gives its bytes without a copy
        self._expected = False
        self._known = b""
        self._known_head: RequestHead | None = None

    @property
    def phase(self) -> Phase:
        """What it waits for."""
        if self._body is not None:
            return BODY
        return HEAD if self._start < len(self._buffer) else BETWEEN

    @property
    def held(self) -> int:
        """How many bytes of an unfinished body it holds."""
        return 0 if self._body is None else self._body.size

    def take_expectation(self) -> bool:
        """Whether the client waits to be told to go on (RFC 9110 section 10.1.1); True once a request."""
        expected, self._expected = self._expected, False
        return expected and not self.held

    def feed(self, data: bytes | memoryview) -> None:
        """Take what came; nothing of it is looked at later. Raises BadMessage for a wrong body."""
        if self._body is not None and not self._body.complete:
            self._take(self._body, data)
            return
        data = bytes(data)
        if self._start == len(self._buffer):
            self._buffer = data
            self._start = self._scanned = 0
        else:
            # what is left is a part of a head, so never longer than that may be
            self._buffer = self._buffer[self._start :] + data
            self._scanned -= self._start
            self._start = 0

    def next(self) -> Incoming | None:
        """The next request; None until more has come. Raises BadMessage; nothing can follow that."""
        if self._body is not None:
            return self._whole(self._body)
        buffer, start = self._buffer, self._start
        if start == len(buffer):
            return None
        end = buffer.find(b"\r\n\r\n", max(start, self._scanned))
        if end < 0:
            self._check_part(buffer, start)
            return None
        end += 4
        raw = buffer[start:end]
        # a kept connection tends to say the same again
        known = self._known_head if raw == self._known else None
        head = known or self._parse(raw)
        stop = end + head.length
        if head.length == CHUNKED or stop > len(buffer):
            body = BodyReader(head.length, self._limits.body, EACH_OF_REQUEST)
            self._head, self._body = head, body
            self._expected = head.expects
            self._buffer, self._start, self._scanned = b"", 0, 0
            self._take(body, buffer[end:])
            return self._whole(body)
        if head.length > self._limits.body:
            raise too_large(self._limits.body)
        self._start = self._scanned = stop
        return Incoming(head, buffer[end:stop])

    def _parse(self, raw: bytes) -> RequestHead:
        limits = self._limits
        if len(raw) > limits.head:
            self._refuse_long(raw)
        if raw.startswith(b"\r\n"):
            raw = raw[2:]  # RFC 9112 section 2.2: an empty line before a request
        head = parse_request(raw, most_headers=limits.headers, most_target=limits.target)
        self._known, self._known_head = raw, head
        return head

    def _check_part(self, buffer: bytes, start: int) -> None:
        """Refuse at once what cannot become a head, or not one that is short enough."""
        size = len(buffer) - start
        if size > self._limits.head:
            self._refuse_long(buffer[start:])
        if buffer.startswith(b"PRI * HTTP/2.0\r\n", start):
            raise BadMessage(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
        if _BARE.search(buffer, max(start, self._scanned)):
            raise BadMessage(400, "a line ends without a carriage return")
        self._scanned = max(start, len(buffer) - 3)

    def _refuse_long(self, raw: bytes) -> NoReturn:
        limits = self._limits
        line = raw.find(b"\r\n")
        if line < 0 or line > limits.target + 32:
            raise BadMessage(414, f"the target has more than {limits.target} bytes")
        raise BadMessage(431, f"the head has more than {limits.head} bytes")

    def _take(self, body: BodyReader, data: bytes | memoryview) -> None:
        self._buffer = bytes(body.feed(data, self._came.write))

    def _whole(self, body: BodyReader) -> Incoming | None:
        if not body.complete:
            return None
        assert self._head is not None
        incoming = Incoming(self._head, self._came.getvalue())
        self._head = self._body = None
        self._came, self._expected = BytesIO(), False
        return incoming
