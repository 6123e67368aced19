"""What a handler is given, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from http import HTTPStatus

import attrs
import trio

from flowcore.http.head import HeaderMap

Send = Callable[[bytes], Awaitable[None]]


@attrs.define(eq=False)
class Request:
    """One request, its body read."""

    method: str
    target: str
    """As it came: path and query, visible ASCII."""
    headers: HeaderMap
    body: bytes
    client: str
    """The other side's address, as text."""
    connection: int
    """A number that stays with the connection."""
    draining: trio.Event
    """Set when the server wants to close: long answers should end soon."""
    secure: bool = False

    @property
    def path(self) -> str:
        """The target without its query, as it came: nothing is decoded or normalised."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query, without the question mark."""
        return self.target.partition("?")[2]


@attrs.define(eq=False)
class Response:
    """A whole answer. Content-Length and Date are added."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    close: bool = False
    """Whether the connection ends with it."""


@attrs.define(eq=False)
class Stream:
    """An answer in pieces. `run(send)` sends them and returns at the end; it is cancelled if the client
    goes away."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    run: Callable[[Send], Awaitable[None]]
    close: Callable[[], None] | None = None
    """Called once when it is over, however that came; also if the client left before `run` was called."""


Handler = Callable[[Request], Awaitable[Response | Stream]]


@lru_cache(maxsize=128)
def status_line(status: int) -> bytes:
    """The status line; the reason phrase is never empty, since some clients want one."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


class DateHeader:
    """The Date header, made anew at most once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def line(self) -> bytes:
        """The line, its end included (RFC 9110 section 6.6.1)."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
            self._line = f"date: {text}\r\n".encode()
        return self._line


DATE = DateHeader()


def encode_response(response: Response, *, head_only: bool, close: bool) -> bytes:
    """The bytes of a whole answer, in one piece."""
    parts = [status_line(response.status), DATE.line()]
    parts.extend(b"%b: %b\r\n" % pair for pair in response.headers)
    if response.status >= 200 and response.status != 204:
        parts.append(b"content-length: %d\r\n" % len(response.body))
    if close:
        parts.append(b"connection: close\r\n")
    parts.append(b"\r\n")
    if not head_only:
        parts.append(response.body)
    return b"".join(parts)


def encode_stream_head(stream: Stream, *, chunked: bool, close: bool) -> bytes:
    """The head of an answer in pieces."""
    parts = [status_line(stream.status), DATE.line()]
    parts.extend(b"%b: %b\r\n" % pair for pair in stream.headers)
    if chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    if close:
        parts.append(b"connection: close\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)
