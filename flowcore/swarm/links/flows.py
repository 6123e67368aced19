"""A stream's two directions, each with its credit. Sans-IO: the engine behind a link's streams.

A chunk costs its bytes and `OVERHEAD`, so that many small ones are bounded, too. The receiver holds at most a
window's worth, and gives back a third of it at a time. The sender waits while it has next to none; as a
window is at least two chunks, so much of it is then in whole chunks that reading these brings a third back.
Where all that came was read when credit is given back, the window was the bound, not the reader: it grows, up
to `GROWN` times what it was.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Protocol

from flowcore.swarm.interfaces import MOST_CHUNK, Lane
from flowcore.swarm.links.frames import (
    PIECE,
    BrokenProtocol,
    Credit,
    Data,
    Finish,
    Open,
    Stop,
    encode,
)
from flowcore.swarm.links.greeting import MOST_WINDOW

OVERHEAD = 32
"""What each chunk costs beside its bytes."""
GROWN = 4
"""How much larger than at first a stream's window becomes where its reader keeps up."""
_AROUND = 32
_LEAST = 1024


class Watcher(Protocol):
    """Who is told what becomes of a stream, at once and without waiting."""

    def readable(self) -> None:
        """There may be something to receive, or the other side has finished."""

    def writable(self) -> None:
        """All that waits has credit now, or nothing is taken any more."""

    def broke(self) -> None:
        """It was reset or lost."""


class Carrier(Protocol):
    """The link that carries a stream."""

    def ready(self, flow: Flow) -> None:
        """It has something to send."""

    def own(self, frame: bytes) -> None:
        """Send a frame of the link's own."""

    def number(self, flow: Flow) -> None:
        """Its opening is being sent: give it its number."""

    def reset(self, flow: Flow, reason: str) -> None:
        """End it at once, both ways."""

    def maybe_closed(self, flow: Flow) -> None:
        """Forget it if it has come to its end in both directions."""


class Out(enum.Enum):
    """How far the sending direction is."""

    OPEN = "open"
    FINISHING = "finishing"
    """All is said; Finish has not been sent yet."""
    FINISHED = "finished"
    STOPPED = "stopped"
    """The other side takes nothing more."""


class Flow:
    """One stream of a link, on one of its sides. Made by a session."""

    def __init__(self, carrier: Carrier, lane: Lane, *, credit: int, window: int) -> None:
        self._carrier = carrier
        self.lane = lane
        self.ident = 0
        """Its number; 0 until its opening has been sent."""
        self.head: bytes | None = None
        """To be sent with the opening."""
        self.watcher: Watcher | None = None
        self.broken: str | None = None
        """Why it is, if it is."""
        self.unserved = False
        """Whether it is broken, and the other side has not begun with it."""
        self.ringed = False
        self.turn = 0
        # out
        self._outbox: deque[bytes] = deque()
        self._at = 0  # bytes of the first chunk that are sent
        self._credit = credit
        self.waiting = 0
        """What the chunks that are not sent yet cost."""
        self.out = Out.OPEN
        # in
        self._inbox: deque[bytes] = deque()
        self._partial: list[bytes] = []
        self.partial = 0
        """Bytes of a chunk that is not whole yet."""
        self._window = window
        self._most = min(GROWN * window, MOST_WINDOW)
        self._allowed = window  # credit that the other side has, or has used on the way
        self._owed = 0
        self._lent = 0  # what the chunk that was given last cost
        self.finished = False
        """Whether the other side has."""
        self._leaving = False

    # ---- sending

    @property
    def covered(self) -> bool:
        """Whether all that waits has credit."""
        return self.waiting <= self._credit or self.out is Out.STOPPED

    def send(self, chunk: bytes) -> None:
        """Let a chunk wait for its turn."""
        self._outbox.append(chunk)
        self.waiting += len(chunk) + OVERHEAD
        self._carrier.ready(self)

    def finish(self) -> None:
        """Nothing more comes."""
        if self.out is Out.OPEN:
            self.out = Out.FINISHING
            self._carrier.ready(self)

    def leave(self) -> None:
        """Nothing more is read: end it as well as can be."""
        if self.broken is not None:
            return
        if self.out is Out.OPEN:
            self.reset("left before its end")
            return
        self._inbox.clear()
        self._partial.clear()
        if not self.finished and not self._leaving:
            self._leaving = True
            self._carrier.ready(self)

    def reset(self, reason: str) -> None:
        """End it at once, both ways."""
        if self.broken is None and not self.closed:
            self._carrier.reset(self, reason)

    def next_frame(self, room: int) -> bytes | None:
        """See `Source`."""
        if self.broken is not None:
            return None
        if self.ident == 0:
            assert self.head is not None
            if len(self.head) + _AROUND > room:
                return b""
            self._carrier.number(self)
            frame = encode(Open(self.ident, int(self.lane), self.head))
            self.head = None
            return frame
        if self._outbox:
            return self._next_data(room)
        if room < _AROUND:
            return b""
        if self.out is Out.FINISHING:
            self.out = Out.FINISHED
            self._carrier.maybe_closed(self)
            return encode(Finish(self.ident))
        if self._leaving and not self.finished and self.out is Out.FINISHED:
            self.finished = True
            self._carrier.maybe_closed(self)
            return encode(Stop(self.ident))
        return None

    def _next_data(self, room: int) -> bytes | None:
        chunk, credit = self._outbox[0], self._credit
        left = len(chunk) - self._at
        fits = min(room - _AROUND, PIECE)
        if left <= fits and left + OVERHEAD <= credit:
            piece = chunk[self._at :] if self._at else chunk
            self._outbox.popleft()
            self._at = 0
            cost, more = left + OVERHEAD, False
        else:
            if credit < min(left + OVERHEAD, _LEAST):
                return None  # goes on when there is credit
            if fits < min(_LEAST, left):
                return b""
            count = min(
                fits, credit, left - 1
            )  # its last byte goes with what the chunk itself costs
            piece = chunk[self._at : self._at + count]
            self._at += count
            cost, more = count, True
        self._credit -= cost
        self.waiting -= cost
        return encode(Data(self.ident, more, piece))

    # ---- receiving

    def receive(self) -> bytes | None:
        """The next chunk, with credit given back for the one before; None if there is none now."""
        if self._lent:
            self._owed += self._lent
            self._lent = 0
        if not self.finished and self._owed >= self._window // 3:
            if not self._inbox and self._window < self._most:
                more = min(self._window, self._most - self._window)
                self._window += more
                self._owed += more
            self._allowed += self._owed
            self._carrier.own(encode(Credit(self.ident, self._owed)))
            self._owed = 0
        if not self._inbox:
            return None
        chunk = self._inbox.popleft()
        self._lent = len(chunk) + OVERHEAD
        return chunk

    # ---- what the other side says

    def take_data(self, data: bytes, *, more: bool) -> None:
        """A piece of a chunk. Raises BrokenProtocol for what it has no credit for."""
        if self.finished:
            raise BrokenProtocol("a stream goes on behind its end")
        size = len(data)
        self._allowed -= size + (0 if more else OVERHEAD)
        if self._allowed < 0:
            raise BrokenProtocol("a stream with more bytes than it had credit for")
        if self.partial + size > MOST_CHUNK or (more and not size):
            raise BrokenProtocol("a chunk of a stream that cannot be")
        self.partial = self.partial + size if more else 0
        if self._leaving:
            return
        if more:
            self._partial.append(data)
            return
        if self._partial:
            self._partial.append(data)
            data = b"".join(self._partial)
            self._partial.clear()
        self._inbox.append(data)
        if self.watcher is not None:
            self.watcher.readable()

    def take_credit(self, size: int) -> None:
        self._credit += size
        if size <= 0 or self._credit > MOST_WINDOW:
            raise BrokenProtocol(f"credit that cannot be: {size}")
        if self._outbox:
            self._carrier.ready(self)
        if self.watcher is not None and self.covered:
            self.watcher.writable()

    def take_finish(self) -> None:
        if self.finished or self.partial:
            raise BrokenProtocol("a stream ends twice, or within a chunk")
        self.finished = True
        if self.watcher is not None:
            self.watcher.readable()
        self._carrier.maybe_closed(self)

    def take_stop(self) -> None:
        if not self.finished:
            raise BrokenProtocol("a stream is stopped before its own end")
        self._outbox.clear()
        self._at = self.waiting = 0
        self.out = Out.STOPPED
        if self.watcher is not None:
            self.watcher.writable()
        self._carrier.maybe_closed(self)

    # ---- its end

    @property
    def closed(self) -> bool:
        """Whether both directions have come to their end."""
        return self.finished and self.out in (Out.FINISHED, Out.STOPPED)

    def break_off(self, reason: str, *, unserved: bool = False) -> None:
        """It is no more: nothing is sent or received any more."""
        self.broken = reason
        self.unserved = unserved
        self._outbox.clear()
        self._inbox.clear()
        self._partial.clear()
        self.head = None
        self.waiting = 0
        if self.watcher is not None:
            self.watcher.broke()
