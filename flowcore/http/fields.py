"""Header fields: lines in, a map out; and pairs in, checked lines out. Sans-IO.

A head is read strictly (RFC 9110 section 5, RFC 9112 sections 2 and 5): what general parsers let through for
old clients' sake (a bare LF, a folded line, a space before the colon, control characters) is refused, since
a proxy in front may have read it differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from flowcore.errors import FlowError

Headers = Sequence[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PRINTABLE = bytes((9, *range(32, 127), *range(128, 256)))
"""What a line may hold: everything but control characters; tab is no control character here."""
_REMEMBERED = 512


class BadMessage(FlowError):
    """A message that is refused: its head, or its body's framing. `status` says so to a client."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class HeaderMap(dict[bytes, bytes]):
    """Headers by lower-cased name, for reading only; of one that came more than once, the first value.

    All values of such a one are in `repeated`.
    """

    repeated: Mapping[bytes, list[bytes]] = MappingProxyType({})
    outline: object = None
    """What a handler has read out of them, if it likes to keep that: a head that a kept connection repeats
    is the same object, and so are its headers."""

    def getall(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        if name in self.repeated:
            return list(self.repeated[name])
        return [self[name]] if name in self else []

    def members(self, name: bytes) -> list[bytes]:
        """The members of a list-valued header in lower case (RFC 9110 section 5.6.1)."""
        listed = b",".join(self.getall(name)).lower().split(b",")
        return [member for one in listed if (member := one.strip(b" \t"))]


def split_lines(head: bytes) -> list[bytes] | None:
    """The lines of a head, without the empty one at its end; None if a control character stands in it.

    Each CR and LF must be half of a CRLF: deleting what is printable must leave just the line ends.
    """
    lines = head.split(b"\r\n")
    if head.translate(None, _PRINTABLE) != b"\r\n" * (len(lines) - 1):
        return None
    del lines[-2:]
    return lines or None


def parse_fields(lines: Iterable[bytes]) -> HeaderMap | None:
    """The headers of these lines, their values without white space around; None if one is malformed."""
    headers = HeaderMap()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or TOKEN.fullmatch(name) is None:
            return None
        key = name.lower()
        value = value.strip(b" \t")
        if key in headers:
            again = headers.repeated.get(key, [headers[key]])
            headers.repeated = {**headers.repeated, key: [*again, value]}
        else:
            headers[key] = value
    return headers


def content_length(headers: HeaderMap) -> int | None:
    """The length that is announced; None if none is. Raises BadMessage unless it is one number."""
    length = headers.get(b"content-length")
    if length is None:
        return None
    if b"content-length" in headers.repeated:
        raise BadMessage(400, "more than one Content-Length")
    if not length.isdigit():
        raise BadMessage(400, "Content-Length is no number of bytes")
    digits = length.lstrip(b"0") or b"0"
    return int(digits[:19])  # 19 digits are beyond any limit, and so is whatever is longer


class FieldEncoder:
    """Makes header lines of pairs, each checked: a line break in a value would begin a header of its own.

    What was given as a tuple is remembered, since most answers carry the same few headers.
    """

    def __init__(self, reserved: frozenset[bytes]) -> None:
        self._reserved = reserved
        self._known: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}

    def lines(self, headers: Headers) -> bytes:
        """The lines, their ends included. Raises ValueError for a header that cannot be sent."""
        if type(headers) is not tuple:
            return self._encoded(headers)
        known = self._known.get(headers)
        if known is None:
            known = self._encoded(headers)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[headers] = known
        return known

    def _encoded(self, headers: Headers) -> bytes:
        for name, value in headers:
            if TOKEN.fullmatch(name) is None:
                raise ValueError(f"{name!r} cannot be a header's name")
            if name.lower() in self._reserved:
                raise ValueError(f"the header {name!r} is made from the message itself")
            if value.translate(None, _PRINTABLE):
                raise ValueError(f"the header {name!r} holds a character that headers cannot")
        return b"".join([b"%b: %b\r\n" % pair for pair in headers])
