"""Server-sent events (WHATWG HTML, section 9.2), both ways. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from flowcore.errors import FlowError


class EventTooLarge(FlowError):
    """An event, or a line of one, is larger than allowed."""


@attrs.frozen
class ServerEvent:
    """One event: its data and type, and the last id and retry time (ms) given with or before it."""

    data: bytes
    event: str = "message"
    id: str = ""
    retry: int | None = None


class SseDecoder:
    """Takes bytes in any pieces, gives events."""

    def __init__(self, *, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._first = True
        self._skip_newline = False
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""
        self._id = ""
        self._retry: int | None = None

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that these bytes complete. Raises EventTooLarge."""
        self._buffer += data
        for line in self._lines():
            event = self._take(line)
            if event is not None:
                yield event
        if len(self._buffer) > self._limit:
            raise EventTooLarge(f"a line of an event has more than {self._limit} bytes")

    def _lines(self) -> Iterator[bytes]:
        buffer = self._buffer
        start = 0
        if self._first and len(buffer) >= 3:
            start = 3 if buffer.startswith(b"\xef\xbb\xbf") else 0
            self._first = False
        position = max(start, self._scanned)
        while True:
            if self._skip_newline and position < len(buffer):
                self._skip_newline = False
                if buffer[position] == 10:
                    position += 1
                    start = position
            end = _end_of_line(buffer, position)
            if end < 0:
                break
            line = bytes(buffer[start:end])
            self._skip_newline = buffer[end] == 13
            start = position = end + 1
            yield line
        del buffer[:start]
        self._scanned = len(buffer)

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._limit:
                raise EventTooLarge(f"an event has more than {self._limit} bytes")
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self._retry = int(value)
        return None

    def _dispatch(self) -> ServerEvent | None:
        data, self._data = self._data, []
        event, self._event = self._event, ""
        self._size = 0
        if not data:
            return None
        return ServerEvent(b"\n".join(data), event or "message", self._id, self._retry)

    @property
    def last_id(self) -> str:
        """The last id that was given, for `Last-Event-ID`."""
        return self._id

    @property
    def retry(self) -> int | None:
        """The last reconnection time that was given, in milliseconds."""
        return self._retry


def _end_of_line(buffer: bytearray, start: int) -> int:
    newline, carriage = buffer.find(b"\n", start), buffer.find(b"\r", start)
    if newline < 0 or carriage < 0:
        return max(newline, carriage)
    return min(newline, carriage)


def encode_event(
    data: bytes, *, event: str | None = None, id_: str | None = None, retry: int | None = None
) -> bytes:
    """One event as bytes. `event` and `id_` must be of one line."""
    parts = []
    if event is not None:
        parts.append(f"event: {event}\n".encode())
    if id_ is not None:
        parts.append(f"id: {id_}\n".encode())
    if retry is not None:
        parts.append(f"retry: {retry}\n".encode())
    if b"\n" not in data and b"\r" not in data:
        parts.append(b"data: %b\n\n" % data)
    else:
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        parts.extend(b"data: %b\n" % line for line in lines)
        parts.append(b"\n")
    return b"".join(parts)
