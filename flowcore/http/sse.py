"""Server-sent events (WHATWG HTML, section 9.2), both ways. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from flowcore.errors import FlowError

_MARK = b"\xef\xbb\xbf"  # a byte order mark may begin a stream


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
    """Takes bytes in any pieces, gives events. Holds at most `limit` bytes of an event and of a line."""

    def __init__(self, *, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._start: bytes | None = b""  # what came while it may still become a mark
        self._carriage = False  # the last byte was a CR: a LF after it is the same line end
        self._line = bytearray()  # the beginning of a line
        self._data = bytearray()  # the lines of data, each with a LF
        self._event = ""
        self._id = ""
        self._retry: int | None = None
        self._too_large: EventTooLarge | None = None

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that these bytes complete. Raises EventTooLarge; nothing can follow that.

        Whole events before one that is too large are still given: then the next call raises.
        """
        if self._too_large is not None:
            raise self._too_large
        events: list[ServerEvent] = []
        try:
            for line in self._lines(data):
                self._take(line, events)
        except EventTooLarge as error:
            self._too_large = error
            if not events:
                raise
        return iter(events)

    @property
    def last_id(self) -> str:
        """The last id that was given, for `Last-Event-ID`."""
        return self._id

    @property
    def retry(self) -> int | None:
        """The last reconnection time that was given, in milliseconds."""
        return self._retry

    def _lines(self, data: bytes) -> Iterator[bytes]:
        if self._start is not None:
            data = self._start + data
            if len(data) < len(_MARK) and _MARK.startswith(data):
                self._start = data
                return
            self._start = None
            data = data.removeprefix(_MARK)
        if self._carriage and data:
            data = data.removeprefix(b"\n")
            self._carriage = False
        if b"\r" in data:
            self._carriage = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        last = lines.pop()
        if lines:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
            yield from lines
        self._line += last
        self._check(len(self._line))

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(f"an event or a line of one has more than {self._limit} bytes")

    def _take(self, line: bytes, events: list[ServerEvent]) -> None:
        self._check(len(line))
        if not line:
            if self._data:
                data = bytes(memoryview(self._data)[:-1])
                events.append(ServerEvent(data, self._event or "message", self._id, self._retry))
                self._data = bytearray()
            self._event = ""
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data += value
            self._data += b"\n"
            self._check(len(self._data) - 1)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self._retry = int(value)


def encode_event(
    data: bytes, *, event: str | None = None, id_: str | None = None, retry: int | None = None
) -> bytes:
    """One event as bytes. Raises ValueError if `event` or `id_` are not of one line.

    A line break of any kind in `data` arrives as LF.
    """
    parts = []
    if event is not None:
        parts.append(_field("event", event))
    if id_ is not None:
        if "\0" in id_:
            raise ValueError(f"expected an id without NUL, not {id_!r}")
        parts.append(_field("id", id_))
    if retry is not None:
        parts.append(b"retry: %d\n" % retry)
    if b"\n" not in data and b"\r" not in data:
        parts.append(b"data: %b\n\n" % data)
    else:
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        parts.extend(b"data: %b\n" % line for line in lines)
        parts.append(b"\n")
    return b"".join(parts)


def _field(name: str, value: str) -> bytes:
    if "\n" in value or "\r" in value:
        raise ValueError(f"expected one line for {name}, not {value!r}")
    return f"{name}: {value}\n".encode()
