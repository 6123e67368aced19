"""Bodies: what is left of a message after its head, however it is delimited. Sans-IO."""

from __future__ import annotations

import re

from flowcore.http.head import BadHead, Framing

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_LINE = 4096
"""Most bytes of a chunk's size line with its extensions, and of a trailer."""


class BodyReader:
    """Takes bytes in, gives the body's bytes out, and knows where the body ends."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._left = framing.length
        self._buffer = bytearray()
        self._state = "size" if framing.chunked else "data"
        self._trailers = 0
        self.complete = not framing.chunked and not framing.until_close and framing.length == 0

    def ended_by_close(self) -> bool:
        """The connection has ended: whether that completes the body."""
        self.complete = self.complete or self._framing.until_close
        return self.complete

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(bytes of the body, bytes that belong to what follows). Raises BadHead for bad chunks."""
        if self._framing.until_close:
            return data, b""
        if self._framing.chunked:
            return self._feed_chunks(data)
        taken = data[: self._left]
        self._left -= len(taken)
        self.complete = self._left == 0
        return taken, data[len(taken) :]

    def _feed_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        buffer = self._buffer
        buffer += data
        body = bytearray()
        while not self.complete:
            if self._state == "data":
                taken = buffer[: self._left]
                body += taken
                self._left -= len(taken)
                del buffer[: len(taken)]
                if self._left:
                    break
                self._state = "end"
            if self._state == "end":
                if len(buffer) < 2:
                    break
                if buffer[:2] != b"\r\n":
                    raise BadHead(400, "a chunk is longer than its size")
                del buffer[:2]
                self._state = "size"
            line = self._line()
            if line is None:
                break
            self._take_line(line)
        rest = b""
        if self.complete:
            rest = bytes(buffer)
            buffer.clear()
        return bytes(body), rest

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, _LINE)
        if end < 0:
            if len(self._buffer) >= _LINE:
                raise BadHead(400, "a chunk's size line is too long")
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r\n"):
            raise BadHead(400, "a line ends without a carriage return")
        return line[:-2]

    def _take_line(self, line: bytes) -> None:
        if self._state == "trailers":
            self._trailers += len(line)
            if self._trailers > _LINE:
                raise BadHead(431, "the trailers are too long")
            self.complete = not line
            return
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadHead(400, "a chunk's size is malformed")
        self._left = int(match[1], 16)
        self._state = "data" if self._left else "trailers"
