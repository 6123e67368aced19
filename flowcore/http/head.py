"""Heads of requests and responses, read strictly (RFC 9112 sections 2 to 6). Sans-IO."""

from __future__ import annotations

import re

import attrs

from flowcore.http.fields import (
    TOKEN,
    BadMessage,
    HeaderMap,
    content_length,
    parse_fields,
    split_lines,
)

CHUNKED = -1
"""A body that comes in chunks, in place of a length."""
UNTIL_CLOSE = -2
"""A response's body that ends with the connection."""

_MINOR = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_VERSION = re.compile(rb"HTTP/\d(\.\d)?")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?")
_TARGET = re.compile(r"[\x21\x22\x24-\x7e]+")  # visible, and without a fragment
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z!$%&'()*+,\-.;=_~]*)(?::\d{0,5})?")


@attrs.define(eq=False)
class RequestHead:
    """The parsed head of a request. `length` is its body's, or CHUNKED."""

    method: str
    target: str
    """In origin form (path and query), or `*`."""
    minor: int
    """The version: HTTP/1.`minor`."""
    headers: HeaderMap
    length: int
    keep_alive: bool
    expects: bool
    """Whether the client waits for 100 (Continue) before it sends the body."""


def parse_request(head: bytes, *, most_headers: int, most_target: int) -> RequestHead:
    """A request's head, the final empty line included. Raises BadMessage."""
    lines = split_lines(head)
    if lines is None:
        raise _what_is_wrong(head)
    method, target, minor = _request_line(lines[0], most_target)
    if len(lines) - 1 > most_headers:
        raise BadMessage(431, f"more than {most_headers} headers")
    del lines[0]
    headers = parse_fields(lines)
    if headers is None:
        raise _what_is_wrong(head)
    host = headers.get(b"host")
    if b"host" in headers.repeated or (host is None and minor):
        raise BadMessage(400, "expected one Host header")
    if host is not None and _HOST.fullmatch(host) is None:
        raise BadMessage(400, "the Host header is no host and port")
    if target[0] != "/":
        target = _other_form(method, target, host)
    keep_alive = minor == 1
    if b"connection" in headers:
        options = headers.members(b"connection")
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
    return RequestHead(
        method,
        target,
        minor,
        headers,
        _request_length(headers, minor),
        keep_alive,
        b"expect" in headers and _expects(headers, minor),
    )


def _request_line(line: bytes, most_target: int) -> tuple[str, str, int]:
    parts = line.split(b" ")
    if len(parts) != 3 or TOKEN.fullmatch(parts[0]) is None:
        raise BadMessage(400, "the request line is malformed")
    minor = _MINOR.get(parts[2])
    if minor is None:
        if _VERSION.fullmatch(parts[2]):
            raise BadMessage(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
        raise BadMessage(400, "the request line is malformed")
    if len(parts[1]) > most_target:
        raise BadMessage(414, f"the target has more than {most_target} bytes")
    target = parts[1].decode("latin-1")
    if _TARGET.fullmatch(target) is None:
        raise BadMessage(400, "the target is not of visible ASCII, or has a fragment")
    return parts[0].decode("ascii"), target, minor


def _other_form(method: str, target: str, host: bytes | None) -> str:
    """The origin form of a target in another form (RFC 9112 section 3.2)."""
    if method == "CONNECT":
        raise BadMessage(501, "this is no proxy")
    if target == "*" and method == "OPTIONS":
        return target
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise BadMessage(400, "the target is no path")
    authority, slash, path = rest.partition("/")
    if "?" in authority:
        authority, _, query = rest.partition("?")
        slash, path = "/", "?" + query
    if host is not None and authority.lower() != host.decode("ascii").lower():
        raise BadMessage(400, "the target and the Host header name different hosts")
    return slash + path if slash else "/"


def _what_is_wrong(head: bytes) -> BadMessage:
    """Why a head does not fit the grammar, as far as it can be told."""
    if head.startswith(b"PRI * HTTP/2.0"):
        return BadMessage(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
    if re.search(rb"(?<!\r)\n", head):
        return BadMessage(400, "a line ends without a carriage return")
    if re.search(rb"\r\n[ \t]", head):
        return BadMessage(400, "a folded header line")
    return BadMessage(400, "the request line or a header is malformed")


def _request_length(headers: HeaderMap, minor: int) -> int:
    coding = headers.get(b"transfer-encoding")
    length = content_length(headers)
    if coding is None:
        return 0 if length is None else length
    if length is not None:
        raise BadMessage(400, "both Content-Length and Transfer-Encoding")
    if not minor:
        raise BadMessage(400, "Transfer-Encoding in HTTP/1.0")
    if b"transfer-encoding" in headers.repeated or coding.lower() != b"chunked":
        raise BadMessage(501, "no transfer coding but chunked is known")
    return CHUNKED


def _expects(headers: HeaderMap, minor: int) -> bool:
    if headers.members(b"expect") != [b"100-continue"]:
        raise BadMessage(417, "no expectation but 100-continue is known")
    return minor == 1


@attrs.define(eq=False)
class ResponseHead:
    """The parsed head of a response. `length` is its body's, or CHUNKED, or UNTIL_CLOSE."""

    status: int
    headers: HeaderMap
    length: int
    keep_alive: bool


def parse_response(head: bytes, *, method: str, most_headers: int) -> ResponseHead:
    """A response's head, the final empty line included. Raises BadMessage with status 502."""
    lines = split_lines(head)
    match = _STATUS.fullmatch(lines[0]) if lines else None
    if lines is None or match is None:
        raise BadMessage(502, "the answer does not begin as HTTP/1.1 does")
    if len(lines) - 1 > most_headers:
        raise BadMessage(502, f"the answer has more than {most_headers} headers")
    del lines[0]
    headers = parse_fields(lines)
    if headers is None:
        raise BadMessage(502, "a header of the answer is malformed")
    status = int(match[2])
    length = _response_length(status, method, headers)
    keep_alive = match[1] == b"1"
    if b"connection" in headers:
        options = headers.members(b"connection")
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
    return ResponseHead(status, headers, length, keep_alive and length != UNTIL_CLOSE)


def _response_length(status: int, method: str, headers: HeaderMap) -> int:
    """RFC 9112 section 6.3."""
    if method == "HEAD" or status in (204, 304) or status < 200:
        return 0
    coding = headers.get(b"transfer-encoding")
    length = _told_length(headers)
    if coding is None:
        return UNTIL_CLOSE if length is None else length
    if length is not None or headers.members(b"transfer-encoding") != [b"chunked"]:
        raise BadMessage(502, "the answer's framing is ambiguous")
    return CHUNKED


def _told_length(headers: HeaderMap) -> int | None:
    try:
        return content_length(headers)
    except BadMessage as error:
        raise BadMessage(502, f"in the answer: {error}") from None
