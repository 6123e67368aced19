"""Bodies: what is left of a message after its head, however it is delimited. Sans-IO."""

from __future__ import annotations

import re

from flowcore.http.fields import BadMessage, parse_fields, split_lines
from flowcore.http.head import CHUNKED, UNTIL_CLOSE

_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_LINE = 4096
"""Most bytes of a chunk's size line, of all extensions together, and of all trailers together."""
_CHUNKS = 16384
"""Most chunks of a body, besides one for each `_EACH` bytes: a chunk costs more work than its bytes."""
_EACH = 64


def too_large(limit: float) -> BadMessage:
    """The refusal of a body of more than `limit` bytes."""
    return BadMessage(413, f"the body has more than {limit:.0f} bytes")


class BodyReader:
    """Takes bytes in, gives the body's bytes out, and knows where the body ends.

    `length` is a number of bytes, CHUNKED or UNTIL_CLOSE; a body of more than `limit` bytes is refused.
    """

    def __init__(self, length: int, limit: float) -> None:
        self._length = length
        self._limit = limit
        self._left = max(length, 0)
        self._buffer = bytearray()
        self._step = BodyReader._size  # of the class: a bound one would be a reference cycle
        self._chunks = _CHUNKS
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

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(bytes of the body, bytes that belong to what follows). Raises BadMessage."""
        if self._length == UNTIL_CLOSE:
            self.size += len(data)
            if self.size > self._limit:
                raise too_large(self._limit)
            return data, b""
        if self._length != CHUNKED:
            taken = data[: self._left]
            self._left -= len(taken)
            self.size += len(taken)
            self.complete = self._left == 0
            return taken, data[len(taken) :]
        self._buffer += data
        body = bytearray()
        while not self.complete and self._step(self, body):
            pass
        rest = bytes(self._buffer) if self.complete else b""
        return bytes(body), rest

    # ---- chunks (RFC 9112 section 7.1): each step tells whether another can be made with what is there

    def _size(self, body: bytearray) -> bool:
        del body
        line = self._line()
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadMessage(400, "a chunk's size is malformed")
        digits = match[1].lstrip(b"0")
        self._spend(len(line) - 2 - len(digits or b"0"), "extensions")
        self._left = int(digits[:16] or b"0", 16)
        if len(digits) > 16 or self.size + self._left > self._limit:
            raise too_large(self._limit)
        self._chunks -= 1
        if self._chunks + self.size // _EACH < 0:
            raise BadMessage(400, "the body comes in too many small chunks")
        self._step = BodyReader._data if self._left else BodyReader._trailer
        return True

    def _data(self, body: bytearray) -> bool:
        taken = self._buffer[: self._left]
        body += taken
        self.size += len(taken)
        self._left -= len(taken)
        del self._buffer[: len(taken)]
        if not self._left:
            self._step = BodyReader._end
        return not self._left

    def _end(self, body: bytearray) -> bool:
        del body
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise BadMessage(400, "a chunk is longer than its size")
        del self._buffer[:2]
        self._step = BodyReader._size
        return True

    def _trailer(self, body: bytearray) -> bool:
        """Trailers are checked and dropped."""
        del body
        line = self._line()
        if line is None:
            return False
        self._spend(len(line) - 2, "trailers")
        if line == b"\r\n":
            self.complete = True
            return False
        fields = split_lines(line + b"\r\n")
        if fields is None or parse_fields(fields) is None:
            raise BadMessage(400, "a trailer is malformed")
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, _LINE)
        if end < 0:
            if len(self._buffer) >= _LINE:
                raise BadMessage(400, "a chunk's size line or a trailer is too long")
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r\n"):
            raise BadMessage(400, "a line ends without a carriage return")
        return line

    def _spend(self, size: int, what: str) -> None:
        self._overhead -= size
        if self._overhead < 0:
            raise BadMessage(400, f"the {what} of the chunks are too long")
