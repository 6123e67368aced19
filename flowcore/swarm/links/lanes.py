"""What waits to be sent, by lane: who goes next. Sans-IO.

Within a batch there is strict priority: a lane gets room only when those before it have nothing. On one lane
messages and streams take turns, a piece each, so that none of them holds up another.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from flowcore.swarm.interfaces import Lane
from flowcore.swarm.links.frames import PIECE, RECORD, First, Message, More, encode

_LEAST = 1024
"""Room for less than this of something large is not worth a frame."""
_AROUND = 32
"""Bytes of a frame around its data, at most."""
_TURN = RECORD - 64
"""Bytes after which the next one has its turn."""


class Source(Protocol):
    """Something with frames to send."""

    ringed: bool
    """Whether it is in its lane's ring; the ring's own."""
    turn: int
    """Bytes sent in its turn; the ring's own."""

    def next_frame(self, room: int) -> bytes | None:
        """Its next frame, of at most `room` bytes; b"" if that is too little; None if it has none now."""
        ...


class Messages:
    """The messages of one lane, in order."""

    def __init__(self, lane: Lane, most: int, most_bytes: int) -> None:
        self._lane = int(lane)
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[bytes | _Large] = deque()
        self.bytes = 0
        self.dropped = 0
        self.ringed = False
        self.turn = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: bytes) -> bool:
        """Let a message wait; False, and counted, if there is no room."""
        size = len(message)
        if len(self._waiting) >= self._most or self.bytes + size > self._most_bytes:
            self.dropped += 1
            return False
        if size <= _TURN:
            frame = encode(Message(self._lane, message))
            self._waiting.append(frame)
            self.bytes += len(frame)
        else:
            self._waiting.append(_Large(message))
            self.bytes += size
        return True

    def next_frame(self, room: int) -> bytes | None:
        if not self._waiting:
            return None
        first = self._waiting[0]
        if isinstance(first, _Large):
            return self._next_piece(first, room)
        if len(first) > room:
            return b""
        self.bytes -= len(first)
        return self._waiting.popleft()  # type: ignore[return-value]  # it is `first`

    def _next_piece(self, large: _Large, room: int) -> bytes:
        size, at = len(large.message), large.sent
        count = min(room - _AROUND, PIECE, size - at)
        if count < min(_LEAST, size - at):
            return b""
        piece = large.message[at : at + count]
        large.sent += count
        self.bytes -= count
        if large.sent == size:
            self._waiting.popleft()
        if count == size:
            return encode(Message(self._lane, piece))
        return encode(More(self._lane, piece) if at else First(self._lane, size, piece))


class _Large:
    """A message that goes in pieces."""

    __slots__ = ("message", "sent")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.sent = 0


class Ring:
    """The sources of one lane that have something to send, by turns."""

    def __init__(self) -> None:
        self.sources: deque[Source] = deque()

    def add(self, source: Source) -> None:
        """It has something to send now."""
        if not source.ringed:
            source.ringed = True
            source.turn = 0
            self.sources.append(source)

    def fill(self, batch: list[bytes], room: int) -> int:
        """Put frames into a batch; the room that is left, 0 if something did not find enough."""
        sources = self.sources
        while sources:
            source = sources[0]
            frame = source.next_frame(room)
            if frame is None:
                source.ringed = False
                sources.popleft()
                continue
            if not frame:
                return 0
            batch.append(frame)
            size = len(frame)
            room -= size
            source.turn += size
            if source.turn >= _TURN:
                source.turn = 0
                sources.rotate(-1)
        return room


class Outgoing:
    """All that a link has to send."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._own: deque[bytes] = deque()
        self._rings = tuple(Ring() for _ in Lane)
        self.messages = tuple(Messages(lane, most, most_bytes) for lane in Lane)
        self.frames = 0
        """Sent so far."""

    def __bool__(self) -> bool:
        return bool(self._own) or self.busy

    @property
    def busy(self) -> bool:
        """Whether a message or a stream has something to send."""
        return any(ring.sources for ring in self._rings)

    @property
    def own(self) -> int:
        """Frames of the link's own that wait."""
        return len(self._own)

    def put_own(self, frame: bytes) -> None:
        """A small frame of the link's own, which goes before everything."""
        self._own.append(frame)

    def put(self, lane: Lane, message: bytes) -> bool:
        """A message; False, and counted, if its lane is full."""
        messages = self.messages[lane]
        if not messages.put(message):
            return False
        if not messages.ringed:
            self._rings[lane].add(messages)
        return True

    def add(self, lane: Lane, source: Source) -> None:
        """A stream of this lane has something to send."""
        self._rings[lane].add(source)

    def take(self, room: int) -> bytes:
        """The next bytes for the wire, at most so many; b"" if there is nothing to send."""
        batch: list[bytes] = []
        own = self._own
        while own and len(own[0]) <= room:
            batch.append(own[0])
            room -= len(own.popleft())
        if not own:
            for ring in self._rings:
                if ring.sources:
                    room = ring.fill(batch, room)
                    if room <= _AROUND:
                        break
        self.frames += len(batch)
        return batch[0] if len(batch) == 1 else b"".join(batch)
