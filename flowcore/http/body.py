"""Bodies: what is left of a message after its head, however it is delimited. Sans-IO."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

from flowcore.http.fields import BadMessage, parse_fields, split_lines
from flowcore.http.head import CHUNKED, UNTIL_CLOSE

Take = Callable[[bytes | memoryview], object]
"""Takes bytes of a body, which are there for as long as the call lasts."""

_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_WHOLE = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7})\r\n")
_LINE = 4096
"""Most bytes of a chunk's size line, of all extensions together, and of all trailers together."""
_CHUNKS = 16384
"""Most chunks of a body, unless they are large."""
_OF_LARGE = 4096
"""Most of a large body, likewise: it costs enough without them."""
_LARGE = 1 << 20
EACH = 64
"""Bytes of a large chunk in the answers of servers, where one is an event."""
EACH_OF_REQUEST = 4096
"""And in requests, where a chunk costs as much work as so many bytes of it."""


class _Expects(enum.Enum):
    """What comes next in a body of chunks (RFC 9112 section 7.1)."""

    SIZE = enum.auto()
    DATA = enum.auto()
    END = enum.auto()
    """The end of the line after a chunk's data."""
    TRAILER = enum.auto()


def too_large(limit: float) -> BadMessage:
    """The refusal of a body of more than `limit` bytes."""
    return BadMessage(413, f"the body has more than {limit:.0f} bytes")


class BodyReader:
    """Takes bytes in, gives the body's bytes out, and knows where the body ends.

    `length` is a number of bytes, CHUNKED or UNTIL_CLOSE; a body of more than `limit` bytes is refused, and
    one of some thousand chunks or more that have fewer than `each` bytes on average.
    """

    def __init__(self, length: int, limit: float, each: int = EACH) -> None:
        self._length = length
        self._limit = limit
        self._left = max(length, 0)
        self._buffer = b""  # of chunks: a part of a line
        self._expects = _Expects.SIZE
        self._chunks = 0
        self._each = each
        self._overhead = _LINE
        self.size = 0
        """How many bytes of the body came."""
        self.complete = length == 0
        if length > limit:
            raise too_large(self._limit)

    @property
    def left(self) -> int | None:
        """How many bytes are to come; None where that is not announced."""
        return self._left if self._length >= 0 else None

    def ended_by_close(self) -> bool:
        """The connection has ended: whether that completes the body."""
        self.complete = self.complete or self._length == UNTIL_CLOSE
        return self.complete

    def feed(self, data: bytes | memoryview, take: Take) -> bytes | memoryview:
        """Give the bytes of the body to `take`, and return those that belong to what follows: parts of
        `data`, or of their own. Raises BadMessage."""
        if self._length == CHUNKED:
            return self._of_chunks(self._buffer + data, take)
        taken = data if self._length == UNTIL_CLOSE else data[: self._left]
        self.size += len(taken)
        if self._length == UNTIL_CLOSE:
            if self.size > self._limit:
                raise too_large(self._limit)
        else:
            self._left -= len(taken)
            self.complete = self._left == 0
        if taken:
            take(taken)
        return data[len(taken) :]

    # ---- chunks

    def _of_chunks(self, data: bytes, take: Take) -> bytes:
        """Take the body out of `data`; what is left of it is kept if it is no whole line yet."""
        at, expects = 0, self._expects
        while not self.complete:
            if expects is _Expects.DATA:
                piece = data[at : at + self._left]
                if piece:
                    take(piece)
                at += len(piece)
                self.size += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                expects = _Expects.END
            if expects is _Expects.END:
                if len(data) < at + 2:
                    break
                if not data.startswith(b"\r\n", at):
                    raise BadMessage(400, "a chunk is longer than its size")
                at += 2
                expects = _Expects.SIZE
            if expects is _Expects.SIZE:
                at = self._whole_chunks(data, at, take)
            end = data.find(b"\n", at, at + _LINE) + 1
            if not end:
                if len(data) - at >= _LINE:
                    raise BadMessage(400, "a chunk's size line or a trailer is too long")
                break
            if expects is _Expects.SIZE:
                self._left = self._size(data[at:end])
                expects = _Expects.DATA if self._left else _Expects.TRAILER
            else:
                self._trailer(data[at:end])
            at = end
        self._expects = expects
        self._buffer, rest = (b"", data[at:]) if self.complete else (data[at:], b"")
        return rest

    def _whole_chunks(self, data: bytes, at: int, take: Take) -> int:
        """Take the chunks that are whole, with nothing but a size; where the next one begins."""
        match, count, size, most = _WHOLE.match, self._count, self.size, len(data) - 2
        while (line := match(data, at)) is not None:
            start = line.end()
            stop = start + int(line[1], 16)
            if stop > most or not data.startswith(b"\r\n", stop):
                break
            size += stop - start
            count(size)
            take(data[start:stop])
            at = stop + 2
        self.size = size
        return at

    def _count(self, size: int) -> None:
        """One more chunk, with which the body has so many bytes. Raises BadMessage if that is too much."""
        if size > self._limit:
            raise too_large(self._limit)
        self._chunks = chunks = self._chunks + 1
        if chunks > (_CHUNKS if size < _LARGE else _OF_LARGE) and chunks * self._each > size:
            raise BadMessage(400, "the body comes in too many small chunks")

    def _size(self, line: bytes) -> int:
        """The size of the chunk whose line this is."""
        match = _SIZE.fullmatch(line)
        if match is None:
            self._refuse_bare(line)
            raise BadMessage(400, "a chunk's size is malformed")
        digits = match[1].lstrip(b"0") or b"0"
        if len(digits) < len(line) - 2:
            self._spend(len(line) - 2 - len(digits), "extensions")
        if len(digits) > 16:
            raise too_large(self._limit)
        size = int(digits, 16)
        self._count(self.size + size)
        return size

    def _trailer(self, line: bytes) -> None:
        """Trailers are checked and dropped."""
        self._refuse_bare(line)
        self._spend(len(line) - 2, "trailers")
        if line == b"\r\n":
            self.complete = True
            return
        fields = split_lines(line + b"\r\n")
        if fields is None or parse_fields(fields) is None:
            raise BadMessage(400, "a trailer is malformed")

    def _refuse_bare(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise BadMessage(400, "a line ends without a carriage return")

    def _spend(self, size: int, what: str) -> None:
        self._overhead -= size
        if self._overhead < 0:
            raise BadMessage(400, f"the {what} of the chunks are too long")
