"""One side of a link that stands: bytes in and out, messages, streams, keep-alive. Sans-IO.

What has to be sent is taken in batches (`take`); what has come is fed (`feed`), and goes to the `Events` at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from flowcore.errors import LinkFailed, StreamBroken
from flowcore.swarm.interfaces import MOST_HEAD, MOST_MESSAGE, Lane
from flowcore.swarm.links.flows import Flow
from flowcore.swarm.links.frames import (
    RECORD,
    BrokenProtocol,
    Credit,
    Data,
    Decoder,
    Finish,
    First,
    Goodbye,
    Message,
    More,
    Open,
    Ping,
    Pong,
    Reset,
    Spoken,
    Stop,
    Wanted,
    encode,
    reason_text,
)
from flowcore.swarm.links.greeting import MOST_WINDOW, Agreed
from flowcore.swarm.links.lanes import Outgoing
from flowcore.swarm.links.roundtrip import RoundTrip
from flowcore.swarm.links.settings import LinkSettings

_MOST_OWN = 20_000
"""Frames of the link's own that may wait; more, and the peer makes them without taking them."""


class LinkDead(LinkFailed):
    """The peer does not answer any more."""


class Events(Protocol):
    """Who hears what comes over a link."""

    def message(self, lane: Lane, message: bytes) -> None: ...

    def opened(self, flow: Flow, head: bytes) -> None:
        """The peer has opened a stream."""

    def pending(self) -> None:
        """There is something to take."""

    def wanted(self, wanted: bool) -> None:
        """Whether the peer has a use of its own for the link."""

    def goodbye(self, reason: str) -> None:
        """The peer closes the link."""


class Session:
    """One side of a link."""

    def __init__(
        self,
        agreed: Agreed,
        settings: LinkSettings,
        events: Events,
        now: float,
        *,
        dialled: bool,
        rest: bytes = b"",
    ) -> None:
        """`rest` is what came behind the greeting; it is read with the first `feed`."""
        self.agreed = agreed
        self._settings = settings
        self._events = events
        self._rest = rest
        self._decoder: Decoder[Any] = Decoder(Spoken)
        self._outgoing = Outgoing(settings.lane_messages, settings.lane_bytes)
        self.round_trip = RoundTrip(
            settings.keepalive, settings.dead_after, settings.doubted_after, now
        )
        self._flows: dict[int, Flow] = {}
        self._unnumbered: set[Flow] = set()
        self._next_mine, self._last_theirs = (1, 0) if dialled else (2, -1)
        self._mine = self._theirs = 0
        self._partial: dict[int, tuple[int, bytearray]] = {}
        self._pong: int | None = None
        self._now = now
        self.closing = False
        """Nothing new begins any more."""
        self._failed = False
        self.bytes_in = self.bytes_out = self.frames_in = self.late = 0
        self._takers: dict[type, Callable[[Any], None]] = {
            Message: self._take_message,
            First: self._take_first,
            More: self._take_more,
            Open: self._take_open,
            Data: self._take_data,
            Credit: self._take_credit,
            Finish: self._take_finish,
            Stop: self._take_stop,
            Reset: self._take_reset,
            Ping: self._take_ping,
            Pong: self._take_pong,
            Wanted: self._take_wanted,
            Goodbye: self._take_goodbye,
        }

    # ---- what this side wants

    def post(self, lane: Lane, message: bytes) -> bool:
        """Put a message on a lane; False, and counted, if it is full or the link is being closed."""
        if len(message) > MOST_MESSAGE:
            raise ValueError(
                f"expected a message of at most {MOST_MESSAGE} bytes, not {len(message)}"
            )
        if self.closing:
            self._outgoing.messages[lane].dropped += 1
            return False
        if not self._outgoing.put(lane, message):
            return False
        self._events.pending()
        return True

    def open(self, lane: Lane, head: bytes, *, whole: bool = False) -> Flow:
        """A new stream; if its head is the whole of it, this side has finished.

        Raises StreamBroken if there are too many, ValueError for too large a head.
        """
        if len(head) > MOST_HEAD:
            raise ValueError(f"expected a head of at most {MOST_HEAD} bytes, not {len(head)}")
        peer = self.agreed.peer
        if self.closing:
            raise StreamBroken(f"the link to {peer.name!r} is being closed", unserved=True)
        if self._mine >= peer.streams:
            raise StreamBroken(
                f"there are {self._mine} streams to {peer.name!r}, as many as may be", unserved=True
            )
        flow = self._flow(lane)
        flow.head = head
        self._mine += 1
        self._unnumbered.add(flow)
        self.ready(flow)
        if whole:
            flow.finish()
        return flow

    def say_wanted(self, wanted: bool) -> None:
        """Tell the peer whether this side has a use for the link."""
        self.own(encode(Wanted(wanted)))

    def goodbye(self, reason: str) -> None:
        """Say that this side closes the link."""
        self.own(encode(Goodbye(reason_text(reason))))

    def take(self, now: float, most: int = RECORD) -> bytes:
        """The next bytes for the wire, at most so many; b"" if there is nothing to send."""
        if self._pong is not None:
            self.own(encode(Pong(self._pong)))
            self._pong = None
        data = self._outgoing.take(most)
        self.bytes_out += len(data)
        return data

    def tick(self, now: float) -> None:
        """Let time pass. Raises LinkDead."""
        self._now = now
        if self.round_trip.overdue(now):
            waited = min(self.round_trip.waited(now), self._settings.dead_after)
            raise LinkDead(f"no answer for {waited:.2g} s")
        self.ask(now)

    def ask(self, now: float) -> None:
        """Send a ping, if one is due."""
        number = self.round_trip.due(now)
        if number is not None:
            self.own(encode(Ping(number)))

    @property
    def idle(self) -> bool:
        """Whether no message waits, and no stream is open."""
        return not (self._outgoing.busy or self._flows or self._unnumbered)

    @property
    def streams(self) -> tuple[int, int]:
        """How many streams are open: of this side's, of the peer's."""
        return self._mine, self._theirs

    @property
    def outgoing(self) -> Outgoing:
        """What waits."""
        return self._outgoing

    @property
    def skipped(self) -> int:
        """Frames that were not known here, and did not need to be."""
        return self._decoder.skipped

    def fail(self, reason: str) -> None:
        """The link is no more: all streams break."""
        self.closing = self._failed = True
        for flow in self._flows.values():
            flow.break_off(reason)
        for flow in self._unnumbered:
            flow.break_off(reason, unserved=True)
        self._flows.clear()
        self._unnumbered.clear()

    # ---- for flows

    def ready(self, flow: Flow) -> None:
        """A stream has something to send."""
        self._outgoing.add(flow.lane, flow)
        self._events.pending()

    def own(self, frame: bytes) -> None:
        """Send a frame of the link's own."""
        self._outgoing.put_own(frame)
        self._events.pending()

    def number(self, flow: Flow) -> None:
        """Its opening is being sent: from here on it has a number."""
        flow.ident = self._next_mine
        self._next_mine += 2
        self._unnumbered.discard(flow)
        self._flows[flow.ident] = flow

    def reset(self, flow: Flow, reason: str, *, unserved: bool = False) -> None:
        """End a stream at once, both ways."""
        if flow.ident:
            self.own(encode(Reset(flow.ident, reason_text(reason), unserved)))
        self._forget(flow)
        flow.break_off(reason or "reset")

    def maybe_closed(self, flow: Flow) -> None:
        """Forget a stream that has come to its end in both directions."""
        if flow.closed:
            self._forget(flow)

    def _flow(self, lane: Lane) -> Flow:
        credit = min(self.agreed.peer.window, MOST_WINDOW)
        return Flow(self, lane, credit=credit, window=self._settings.window)

    def _forget(self, flow: Flow) -> None:
        if flow in self._unnumbered:
            self._unnumbered.discard(flow)
            self._mine -= 1
        elif self._flows.pop(flow.ident, None) is not None:
            if self._is_mine(flow.ident):
                self._mine -= 1
            else:
                self._theirs -= 1
        self._events.pending()  # whoever waits for the link to be idle looks again

    def _is_mine(self, ident: int) -> bool:
        return ident % 2 == self._next_mine % 2

    # ---- what the peer says

    def feed(self, data: bytes, now: float) -> None:
        """Take what has come. Raises BrokenProtocol: the link is to be closed."""
        if self._failed:
            return
        self._now = now
        if self._rest:
            data, self._rest = self._rest + data, b""
        if data:
            self.bytes_in += len(data)
            self.round_trip.heard(now)
        takers = self._takers
        for frame in self._decoder.feed(data):
            self.frames_in += 1
            takers[type(frame)](frame)
            if self._failed:
                return
        if self._outgoing.own > _MOST_OWN:
            raise BrokenProtocol("the other side does not read what it asks for")

    def _take_message(self, frame: Message) -> None:
        lane = frame.lane
        if not 0 <= lane < len(_LANES) or lane in self._partial:
            raise BrokenProtocol("a message on no lane, or within another")
        self._events.message(_LANES[lane], frame.data)

    def _take_first(self, frame: First) -> None:
        if not 0 <= frame.lane < len(_LANES) or frame.lane in self._partial:
            raise BrokenProtocol("a message on no lane, or within another")
        if not len(frame.data) < frame.size <= MOST_MESSAGE:
            raise BrokenProtocol(f"a message in pieces of {frame.size} bytes")
        self._partial[frame.lane] = frame.size, bytearray(frame.data)

    def _take_more(self, frame: More) -> None:
        if frame.lane not in self._partial or not frame.data:
            raise BrokenProtocol("a piece of no message")
        size, partial = self._partial[frame.lane]
        partial += frame.data
        if len(partial) > size:
            raise BrokenProtocol("a message longer than it said")
        if len(partial) == size:
            del self._partial[frame.lane]
            self._events.message(_LANES[frame.lane], bytes(partial))

    def _take_open(self, frame: Open) -> None:
        if frame.stream != self._last_theirs + 2 or not 0 <= frame.lane < len(_LANES):
            raise BrokenProtocol(f"a stream of number {frame.stream} after {self._last_theirs}")
        if len(frame.head) > MOST_HEAD:
            raise BrokenProtocol("a stream's head that is too large")
        self._last_theirs = frame.stream
        if self._theirs >= self._settings.streams:
            raise BrokenProtocol("more streams than may be")
        flow = self._flow(_LANES[frame.lane])
        flow.ident = frame.stream
        self._flows[flow.ident] = flow
        self._theirs += 1
        if self.closing:
            self.reset(flow, "the link is being closed", unserved=True)
        else:
            self._events.opened(flow, frame.head)

    def _known(self, ident: int) -> Flow | None:
        """The stream of a number; None for one that has ended here. Raises BrokenProtocol."""
        flow = self._flows.get(ident)
        if flow is None:
            newest = self._next_mine - 2 if self._is_mine(ident) else self._last_theirs
            if not 0 < ident <= newest:
                raise BrokenProtocol(f"a stream of number {ident}, which was never opened")
            self.late += 1
        return flow

    def _take_data(self, frame: Data) -> None:
        flow = self._known(frame.stream)
        if flow is not None:
            flow.take_data(frame.data, more=frame.more)

    def _take_credit(self, frame: Credit) -> None:
        flow = self._known(frame.stream)
        if flow is not None:
            flow.take_credit(frame.size)

    def _take_finish(self, frame: Finish) -> None:
        flow = self._known(frame.stream)
        if flow is not None:
            flow.take_finish()

    def _take_stop(self, frame: Stop) -> None:
        flow = self._known(frame.stream)
        if flow is not None:
            flow.take_stop()

    def _take_reset(self, frame: Reset) -> None:
        flow = self._known(frame.stream)
        if flow is not None:
            self._forget(flow)
            reason = reason_text(frame.reason) or "reset by the other side"
            flow.break_off(reason, unserved=frame.unserved)

    def _take_ping(self, frame: Ping) -> None:
        self._pong = frame.number
        self._events.pending()

    def _take_pong(self, frame: Pong) -> None:
        self.round_trip.answered(frame.number, self._now)

    def _take_wanted(self, frame: Wanted) -> None:
        self._events.wanted(frame.wanted)

    def _take_goodbye(self, frame: Goodbye) -> None:
        self.closing = True
        self._events.goodbye(reason_text(frame.reason))


_LANES = tuple(Lane)
