"""Heads of requests and responses, read strictly (RFC 9112 sections 2 to 6). Sans-IO.

A head is matched as a whole against the grammar before anything in it is believed: what general parsers let
through for old clients' sake (bare LF, folded lines, space before a colon, control characters) is refused,
since a proxy in front may have read it differently. Then one pass takes the headers out.
"""

from __future__ import annotations

import re

import attrs

from flowcore.errors import FlowError


class BadHead(FlowError):
    """A head, or a body's framing, that is refused, with the status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
_FIELDS = rb"((?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*)\r\n"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?\r\n" + _FIELDS)
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\r]*)\r\n")
_LENGTH = re.compile(rb"\d{1,18}")

Headers = tuple[tuple[bytes, bytes], ...]


class HeaderMap(dict[bytes, bytes]):
    """Headers by lower-cased name; one that came more than once has its values in `repeated`."""

    __slots__ = ("repeated",)

    def __init__(self) -> None:
        super().__init__()
        self.repeated: dict[bytes, list[bytes]] = {}

    def getall(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        if name in self.repeated:
            return self.repeated[name]
        return [self[name]] if name in self else []


def _header_map(fields: bytes, most: int) -> HeaderMap:
    headers = HeaderMap()
    pairs = _FIELD.findall(fields)
    if len(pairs) > most:
        raise BadHead(431, f"more than {most} headers")
    for name, value in pairs:
        key = name.lower()
        value = value.rstrip(b" \t")
        if key in headers:
            headers.repeated.setdefault(key, [headers[key]]).append(value)
        else:
            headers[key] = value
    return headers


@attrs.frozen
class Framing:
    """How a message's body is delimited: by a length, by chunks, or (a response) by the end."""

    length: int = 0
    chunked: bool = False
    until_close: bool = False


@attrs.frozen
class RequestHead:
    """The parsed head of a request."""

    method: str
    target: str
    minor: int
    headers: HeaderMap
    framing: Framing
    keep_alive: bool
    expects: bool


def parse_request(head: bytes, *, most_headers: int, most_target: int) -> RequestHead:
    """A request's head, the final empty line included. Raises BadHead."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        raise _what_is_wrong(head)
    method, target, minor, fields = match.groups()
    if len(target) > most_target:
        raise BadHead(414, f"the target has more than {most_target} bytes")
    headers = _header_map(fields, most_headers)
    is_11 = minor == b"1"
    if b"host" in headers.repeated or (is_11 and b"host" not in headers):
        raise BadHead(400, "expected one Host header")
    connection = headers.get(b"connection", b"").lower()
    return RequestHead(
        method.decode("ascii"),
        target.decode("ascii"),
        1 if is_11 else 0,
        headers,
        _request_framing(headers, is_11=is_11),
        b"close" not in connection if is_11 else b"keep-alive" in connection,
        is_11 and headers.get(b"expect", b"").lower() == b"100-continue",
    )


def _what_is_wrong(head: bytes) -> BadHead:
    """Why a head does not fit the grammar, as far as it can be told."""
    line = head.split(b"\r\n", 1)[0]
    if head.startswith(b"PRI * HTTP/2.0"):
        return BadHead(505, "HTTP/2 is not spoken here")
    if re.fullmatch(rb"[^ ]+ [^ ]+ HTTP/\d(?:\.\d)?", line) and not line.endswith((b"1.0", b"1.1")):
        return BadHead(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
    if re.search(rb"(?<!\r)\n", head):
        return BadHead(400, "a line ends without a carriage return")
    if re.search(rb"\r\n[ \t]", head):
        return BadHead(400, "a folded header line")
    return BadHead(400, "the request line or a header is malformed")


def _request_framing(headers: HeaderMap, *, is_11: bool) -> Framing:
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return Framing(length=_length(headers))
    if b"content-length" in headers:
        raise BadHead(400, "both Content-Length and Transfer-Encoding")
    if not is_11:
        raise BadHead(400, "Transfer-Encoding in HTTP/1.0")
    if b"transfer-encoding" in headers.repeated or coding.lower() != b"chunked":
        raise BadHead(501, "no transfer coding but chunked is known")
    return Framing(chunked=True)


def _length(headers: HeaderMap) -> int:
    length = headers.get(b"content-length")
    if length is None:
        return 0
    if b"content-length" in headers.repeated:
        raise BadHead(400, "more than one Content-Length")
    if not _LENGTH.fullmatch(length):
        raise BadHead(400, "Content-Length is no number of bytes")
    return int(length)


@attrs.frozen
class ResponseHead:
    """The parsed head of a response."""

    status: int
    headers: HeaderMap
    framing: Framing
    keep_alive: bool


def parse_response(head: bytes, *, method: str, most_headers: int) -> ResponseHead:
    """A response's head, the final empty line included. Raises BadHead."""
    match = _RESPONSE.fullmatch(head)
    if match is None:
        raise BadHead(502, "the response's head is malformed")
    minor, status, fields = match.groups()
    headers = _header_map(fields, most_headers)
    code = int(status)
    connection = headers.get(b"connection", b"").lower()
    keep = b"close" not in connection if minor == b"1" else b"keep-alive" in connection
    framing = _response_framing(code, method, headers)
    return ResponseHead(code, headers, framing, keep and not framing.until_close)


def _response_framing(status: int, method: str, headers: HeaderMap) -> Framing:
    if method == "HEAD" or status in (204, 304) or status < 200:
        return Framing()
    coding = headers.get(b"transfer-encoding")
    if coding is not None:
        if b"content-length" in headers or coding.lower() != b"chunked":
            raise BadHead(502, "the response's framing is ambiguous")
        return Framing(chunked=True)
    if b"content-length" in headers:
        return Framing(length=_length(headers))
    return Framing(until_close=True)
