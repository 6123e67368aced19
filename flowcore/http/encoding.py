"""Messages as bytes. Sans-IO, but for the clock of the Date header."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from flowcore.http.fields import TOKEN, FieldEncoder, Headers
from flowcore.http.messages import Response, Stream

_FIELDS = FieldEncoder(
    frozenset((b"connection", b"content-length", b"date", b"keep-alive", b"transfer-encoding"))
)
_ASKING = FieldEncoder(frozenset((b"content-length", b"expect", b"transfer-encoding")))


@lru_cache(maxsize=128)
def status_line(status: int) -> bytes:
    """The status line; the reason phrase is never empty, since some clients want one."""
    if not 200 <= status <= 599:
        raise ValueError(f"expected the status of a final answer, not {status!r}")
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
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


_DATE = DateHeader()


def encode_response(response: Response, *, connection: bytes = b"", head_only: bool) -> bytes:
    """The bytes of a whole answer, in one piece. Raises ValueError if it cannot be sent as it is.

    `connection` is the Connection header's line, or empty.
    """
    status, body = response.status, response.body
    line = status_line(status)
    fields = _FIELDS.lines(response.headers)
    if (
        status == 204 or status == 304
    ):  # these have no body, whatever was given (RFC 9112 section 6.3)
        return b"%b%b%b%b\r\n" % (line, _DATE.line(), fields, connection)
    return b"%b%b%b%bcontent-length: %d\r\n\r\n%b" % (
        line,
        _DATE.line(),
        fields,
        connection,
        len(body),
        b"" if head_only else body,
    )


def encode_stream_head(stream: Stream, *, connection: bytes = b"", chunked: bool) -> bytes:
    """The head of an answer in pieces. Raises ValueError if it cannot be sent."""
    if stream.status in (204, 304):
        raise ValueError(f"an answer of status {stream.status} has no body to stream")
    return b"%b%b%b%b%b\r\n" % (
        status_line(stream.status),
        _DATE.line(),
        _FIELDS.lines(stream.headers),
        connection,
        b"transfer-encoding: chunked\r\n" if chunked else b"",
    )


def encode_chunk(data: bytes) -> bytes:
    """One chunk of a stream."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
KEEP_ALIVE = b"connection: keep-alive\r\n"


@lru_cache(maxsize=128)
def _method(method: str) -> str:
    if not method.isascii() or TOKEN.fullmatch(method.encode()) is None:
        raise ValueError(f"expected the name of an HTTP method, not {method!r}")
    return method


def encode_request_head(
    method: str, target: str, authority: str, headers: Headers, size: int
) -> bytes:
    """The bytes of a request before its body, which has `size` of them. Host is `authority` unless it is
    among the headers.

    Raises ValueError for a method or header that cannot be sent.
    """
    line = f"{_method(method)} {target} HTTP/1.1\r\n"
    if not any(len(name) == 4 and name.lower() == b"host" for name, _ in headers):
        line += f"host: {authority}\r\n"
    fields = _ASKING.lines(headers)
    if size or method in ("POST", "PUT", "PATCH"):
        return b"%b%bcontent-length: %d\r\n\r\n" % (line.encode(), fields, size)
    return b"%b%b\r\n" % (line.encode(), fields)
