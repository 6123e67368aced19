"""Messages that arrive once and in order, over links that lose them and ways that change. Sans-IO.

One *channel* goes from a sender to a receiver for each topic. Its messages are numbered from 1 on within
a *life*: whichever of the two restarts begins another. The receiver takes the number
that it expects, holds what is early, drops what came before, and confirms how far it is (as TCP does,
RFC 9293 section 3.8, on top of whatever the links are). The sender keeps what is not confirmed, within
bounds, and sends it again when that takes too long (RFC 6298), or at once when the ways have changed.

What cannot be kept is a *gap*, and both hear of it: the sender by the failure of each message that may
be lost, the receiver before the next one that it gets, or by a segment without one. A message that was
sent to an earlier start of the receiver is not sent to the next one, for it may have been taken; it
fails. So no message is ever given to a receiver twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs

from flowcore.swarm.interfaces import Lane
from flowcore.swarm.overlay.frames import Ack, Segment

EARLY = 1024
"""How far ahead of what is expected a message may be, to be held."""
_BURST = 32
"""Segments that are sent again at a time."""
_RTO_FIRST = 0.3
_RTO_LEAST = 0.05
_RTO_MOST = 2.0
_SOON = 0.05
"""Until what no link took is tried again, and the least between two tries."""

Settled = Callable[[str | None], None]
"""What has become of a message: None if it was taken, else why it may be lost."""


class Poster(Protocol):
    """Sends a segment on its way, without waiting; False if no link takes it."""

    def __call__(self, node: str, segment: Segment, lane: Lane, /) -> bool: ...


@attrs.define(eq=False)
class _Kept:
    """A message that is not confirmed."""

    number: int
    data: bytes
    lane: Lane
    given: float
    settled: Settled
    sent: float | None = None
    tries: int = 0
    again: bool = False
    """Whether it is to be sent again, however long ago it was sent."""


class Sending:
    """The sender's side of one channel."""

    def __init__(
        self, node: str, topic: str, *, life: int, patience: float, most: int, most_bytes: int
    ) -> None:
        self.node = node
        self.topic = topic
        self._life = life
        self._peer: int | None = None
        self._patience = patience
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[_Kept] = deque()
        self._bytes = 0
        self._next = 1
        self._floor = 1
        self._told = 1  # the receiver is known to expect this number, at least
        self._lost = False
        self._smooth: float | None = None
        self._deviation = 0.0
        self._rto = _RTO_FIRST
        self._due = float("inf")

    @property
    def full(self) -> bool:
        """Whether it takes nothing more until something is settled."""
        return len(self._waiting) >= self._most or (
            bool(self._waiting) and self._bytes >= self._most_bytes
        )

    @property
    def count(self) -> int:
        """Messages that are not confirmed."""
        return len(self._waiting)

    @property
    def _owes(self) -> bool:
        return self._peer is not None and (self._lost or self._told < self._floor)

    def put(self, data: bytes, lane: Lane, now: float, settled: Settled) -> None:
        """One more message, behind all others; not if it is full."""
        kept = _Kept(self._next, data, lane, now, settled)
        self._next += 1
        self._waiting.append(kept)
        self._bytes += len(data)
        self._due = min(self._due, now)

    def meet(self, boot: int | None, now: float) -> None:
        """This start of the receiver is the one now; None while nothing is known of it."""
        if boot is None or boot == self._peer:
            return
        lost = self._lost or self._told < self._floor
        self._peer = boot
        unsent = [one for one in self._waiting if one.sent is None]
        fated = [one for one in self._waiting if one.sent is not None]
        # what is left is numbered anew: this is another life
        self._waiting = deque(unsent)
        self._bytes = sum(len(one.data) for one in unsent)
        for number, one in enumerate(unsent, 1):
            one.number = number
        self._next = len(unsent) + 1
        self._floor = self._told = 1
        self._lost = bool(fated) or lost
        self._rto = _RTO_FIRST
        self._due = now
        for one in fated:
            one.settled(f"{self.node!r} has restarted: it may have taken it before")

    def give_up(self, reason: str) -> None:
        """Nothing that waits can arrive any more."""
        self._fail(len(self._waiting), reason)

    def hurry(self, now: float) -> None:
        """The ways have changed: what is on its way may be lost."""
        if self._waiting or self._owes:
            for one in self._waiting:
                if one.sent is not None:
                    one.again = True
            self._due = now

    @property
    def due(self) -> float:
        """When `tick` has something to do, at the latest."""
        if not self._waiting:
            return self._due if self._owes else float("inf")
        oldest = self._waiting[0].given + self._patience
        return oldest if self._peer is None else min(self._due, oldest)

    def tick(self, now: float, post: Poster) -> None:
        """Let time pass: fail what has waited too long, send what is due."""
        old = 0
        for one in self._waiting:
            if now < one.given + self._patience:
                break
            old += 1
        if old:
            self._fail(old, f"{self.node!r} has not confirmed it within {self._patience:g} s")
        if self._peer is None or now < self._due:
            return
        late = {
            one.number
            for one in self._waiting
            if one.sent is not None and (one.again or now >= one.sent + self._rto)
        }
        if late and not any(one.again for one in self._waiting):
            self._rto = min(2 * self._rto, _RTO_MOST)
        posted = self._send(late, now, post) if self._waiting else self._say_floor(post)
        flying = (one.sent for one in self._waiting if one.sent is not None)
        self._due = (
            max(min(flying, default=now) + self._rto, now + _SOON) if posted else now + _SOON
        )

    def _send(self, late: set[int], now: float, post: Poster) -> bool:
        """Send what is new or late, as much as may be at once; False if no link takes it."""
        again = 0
        last = self._waiting[0].number + EARLY // 2
        for one in self._waiting:
            if one.number >= last:
                break
            if one.sent is not None:
                if one.number not in late or again == _BURST:
                    continue
                again += 1
            if not post(self.node, self._segment(one.number, one.data), one.lane):
                return False
            one.sent, one.again = now, False
            one.tries += 1
        return True

    def _say_floor(self, post: Poster) -> bool:
        self._rto = min(2 * self._rto, _RTO_MOST)
        return post(self.node, self._segment(0, b""), Lane.CONTROL)

    def _segment(self, number: int, data: bytes) -> Segment:
        assert self._peer is not None
        return Segment(self.topic, self._life, self._peer, number, self._floor, self._lost, data)

    def take(self, ack: Ack, now: float) -> bool:
        """The receiver says how far it is; whether it is of this life, and can be."""
        if ack.life != self._life or ack.receiver != self._peer or ack.expected > self._next:
            return False
        refused = set(ack.refused)
        done = []
        while self._waiting and self._waiting[0].number < ack.expected:
            one = self._waiting.popleft()
            self._bytes -= len(one.data)
            done.append(one)
        self._told = max(self._told, ack.expected)
        self._floor = max(self._floor, min(ack.expected, self._next))
        self._lost = False
        if done:
            last = done[-1]
            if (
                last.sent is not None and last.tries == 1
            ):  # else nobody knows which was confirmed (Karn)
                self._measure(now - last.sent)
            self._rto = self._usual()
            self._due = now + self._rto if self._waiting else float("inf")
            if any(one.sent is None for one in self._waiting):
                self._due = now
        for one in done:
            one.settled("nobody listens there" if one.number in refused else None)
        return True

    def _measure(self, seconds: float) -> None:
        if self._smooth is None:
            self._smooth, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(self._smooth - seconds) - self._deviation) / 4
            self._smooth += (seconds - self._smooth) / 8

    def _usual(self) -> float:
        if self._smooth is None:
            return _RTO_FIRST
        return min(max(self._smooth + 4 * self._deviation, _RTO_LEAST), _RTO_MOST)

    def _fail(self, count: int, reason: str) -> None:
        failed = [self._waiting.popleft() for _ in range(count)]
        if not failed:
            return
        self._bytes -= sum(len(one.data) for one in failed)
        self._floor = failed[-1].number + 1
        self._due = 0.0
        for one in failed:
            one.settled(reason)


class Hearer(Protocol):
    """Gives messages of one topic to who listens; False if nobody does."""

    def __call__(self, message: bytes, /) -> bool: ...


class Receiving:
    """The receiver's side of one channel, in one life."""

    def __init__(self, life: int) -> None:
        self.life = life
        """Which life of the channel."""
        self._expected = 1
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        self._refused: dict[int, None] = {}
        self._told_lost = False
        self.duplicates = 0
        self.gaps = 0

    def take(
        self, segment: Segment, give: Hearer, gap: Callable[[str], None], most_bytes: int
    ) -> None:
        """What has come. Messages are given in order, and gaps told between them."""
        if segment.lost and self._expected == 1 and segment.floor == 1 and not self._told_lost:
            self._told_lost = True
            self._gap("messages of an earlier life may be lost", gap)
        if segment.floor > self._expected:
            self._skip(segment.floor, give, gap)
        for old in [one for one in self._refused if one < segment.floor]:
            del self._refused[old]
        number = segment.number
        if not number or number >= self._expected + EARLY:
            return
        if number < self._expected or number in self._early:
            self.duplicates += 1
            return
        size = len(segment.data)
        if number > self._expected:
            if self._early_bytes + size <= most_bytes:
                self._early[number] = segment.data
                self._early_bytes += size
            return
        self._give(number, segment.data, give)
        self._expected += 1
        self._drain(give)

    def _skip(self, floor: int, give: Hearer, gap: Callable[[str], None]) -> None:
        """The sender has given up all before a number: give what is there, and tell what is not."""
        at = self._expected
        for number in sorted(one for one in self._early if one < floor):
            if number > at:
                self._gap(f"{number - at} messages are lost", gap)
            self._give(number, self._pop(number), give)
            at = number + 1
        if floor > at:
            self._gap(f"{floor - at} messages are lost", gap)
        self._expected = floor
        self._drain(give)

    def _drain(self, give: Hearer) -> None:
        while self._expected in self._early:
            self._give(self._expected, self._pop(self._expected), give)
            self._expected += 1

    def _pop(self, number: int) -> bytes:
        data = self._early.pop(number)
        self._early_bytes -= len(data)
        return data

    def _give(self, number: int, data: bytes, give: Hearer) -> None:
        if not give(data):
            self._refused[number] = None
            if len(self._refused) > EARLY:
                del self._refused[next(iter(self._refused))]

    def _gap(self, words: str, gap: Callable[[str], None]) -> None:
        self.gaps += 1
        gap(words)

    def ack(self, topic: str, receiver: int) -> Ack:
        """How far it is."""
        refused = tuple(sorted(self._refused))
        return Ack(topic, self.life, receiver, self._expected, refused)
