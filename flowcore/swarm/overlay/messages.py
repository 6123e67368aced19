"""Messages from node to node: those that may be lost, and those that arrive once and in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import attrs
import trio

from flowcore.errors import Unreachable
from flowcore.swarm.interfaces import Lane, Link, Receiver
from flowcore.swarm.overlay.frames import MOST_DATA, Ack, Carried, Post, Segment
from flowcore.swarm.overlay.numbers import Numbers
from flowcore.swarm.overlay.ordered import Receiving, Sending
from flowcore.swarm.overlay.seen import Seen
from flowcore.swarm.overlay.ways import Ways

logger = logging.getLogger(__name__)

MOST_TOPICS = 256
"""Channels from one node, at most."""
_RETIRED = 16
_MOST_WORD = 128
GAP = "/gap"
"""Behind a topic: who is told of gaps in it."""


def check_topic(topic: str, message: bytes) -> None:
    """Raise ValueError for what cannot be sent."""
    if not 0 < len(topic) <= _MOST_WORD:
        raise ValueError(f"expected a topic of 1 to {_MOST_WORD} characters, not {topic!r:.200}")
    if len(message) > MOST_DATA:
        raise ValueError(f"expected a message of at most {MOST_DATA} bytes, not {len(message)}")


class Topics:
    """Who listens to what at this node."""

    def __init__(self) -> None:
        self._receivers: dict[str, Receiver] = {}

    @contextmanager
    def listening(self, topic: str, receiver: Receiver) -> Generator[None]:
        """Give messages of a topic to a receiver. Raises ValueError if somebody listens already."""
        check_topic(topic, b"")
        if topic in self._receivers:
            raise ValueError(f"somebody listens to the topic {topic!r} already")
        self._receivers[topic] = receiver
        try:
            yield
        finally:
            del self._receivers[topic]

    def give(self, topic: str, source: str, message: bytes) -> bool:
        """Give it to who listens; False if nobody does."""
        receiver = self._receivers.get(topic)
        if receiver is None:
            return False
        try:
            receiver(source, message)
        except Exception:  # its fault is not the link's, on whose task this is
            logger.exception("the receiver of %r failed on a message from %r", topic, source)
        return True


@attrs.define(eq=False)
class _Channel:
    """The sender's side, with who waits for it."""

    sending: Sending
    turn: trio.StrictFIFOLock = attrs.field(factory=trio.StrictFIFOLock)
    room: trio.Event = attrs.field(factory=trio.Event)
    way: tuple[str, ...] = ()


@attrs.define(eq=False)
class _Heard:
    """The receiver's side: the life now, and those that are over."""

    receiving: Receiving
    over: deque[int] = attrs.field(factory=lambda: deque(maxlen=_RETIRED))


class Messages:
    """Posts and channels of one node."""

    def __init__(self, ways: Ways, topics: Topics) -> None:
        self._ways = ways
        self._topics = topics
        self._posted: dict[Lane, Numbers[str]] = {lane: Numbers() for lane in Lane}
        self._seen: dict[tuple[str, int], Seen] = {}
        self._channels: dict[tuple[str, str], _Channel] = {}
        self._heard: dict[str, dict[str, _Heard]] = {}
        self._acks: dict[tuple[str, str], None] = {}
        self._closed = False

    # ---- sending

    def post(self, node: str, topic: str, message: bytes, lane: Lane) -> bool:
        """Send a message that may be lost."""
        check_topic(topic, message)
        ways = self._ways
        if node == ways.name:
            return self._topics.give(topic, node, message)
        hops = ways.routes.next_hops(node)
        number = 0
        if hops and hops[0] != node:
            number = self._posted[lane].next(node)
        return ways.carry(node, Post(ways.boot, number, lane, topic, message), lane)

    async def send(self, node: str, topic: str, message: bytes, lane: Lane) -> None:
        """Send a message that arrives once and in order; returns when it has. Raises Unreachable."""
        check_topic(topic, message)
        ways = self._ways
        if node == ways.name:
            await trio.lowlevel.checkpoint()
            if not self._topics.give(topic, node, message):
                raise Unreachable(f"nobody listens to {topic!r} at {node!r}")
            return
        channel = self._channel(node, topic)
        settled = trio.Event()
        failed: list[str] = []

        def settle(reason: str | None) -> None:
            if reason is not None:
                failed.append(reason)
                ways.counters.gaps += 1
            settled.set()
            channel.room.set()

        async with channel.turn:
            while channel.sending.full:
                channel.room = trio.Event()
                await channel.room.wait()
            self._check_there(node)
            channel.sending.put(message, lane, trio.current_time(), settle)
        ways.wake()
        await settled.wait()
        if failed:
            raise Unreachable(f"a message of {topic!r} to {node!r} may be lost: {failed[0]}")

    def close(self) -> None:
        """Nothing is sent any more: whoever waits is told."""
        self._closed = True
        for channel in self._channels.values():
            channel.sending.give_up("this node stops")

    def _check_there(self, node: str) -> None:
        if self._closed:
            raise Unreachable("this node stops")
        if node not in self._ways.members:
            raise Unreachable(f"{node!r} is no member now")

    def _channel(self, node: str, topic: str) -> _Channel:
        ways = self._ways
        self._check_there(node)
        channel = self._channels.get((node, topic))
        if channel is None:
            if sum(to == node for to, _ in self._channels) >= MOST_TOPICS:
                raise ValueError(f"more than {MOST_TOPICS} topics to {node!r}")
            settings = ways.settings
            sending = Sending(
                node,
                topic,
                life=ways.life(),
                patience=settings.patience,
                most=settings.waiting,
                most_bytes=settings.waiting_bytes,
            )
            channel = self._channels[node, topic] = _Channel(sending)
            channel.way = ways.routes.next_hops(node)
            sending.meet(ways.reports.boot(node), trio.current_time())
        return channel

    def met(self, now: float) -> None:
        """Ways, members or reports have changed: send again what may be lost, give up what must be."""
        ways = self._ways
        present = set(ways.members)
        for (node, topic), channel in list(self._channels.items()):
            sending = channel.sending
            if node not in present:
                sending.give_up(f"{node!r} is no member any more")
                if not channel.turn.locked():
                    del self._channels[node, topic]
                continue
            sending.meet(ways.reports.boot(node), now)
            way = ways.routes.next_hops(node)
            if way != channel.way:
                channel.way = way
                if way:
                    sending.hurry(now)
        for numbers in self._posted.values():
            numbers.forget(present)
        known = present | set(ways.links)
        if len(self._seen) > 16 * len(known):
            for key in [key for key in self._seen if key[0] not in known]:
                del self._seen[key]
        if len(self._heard) > 2 * len(known) + 64:
            for name in self._heard.keys() - known:
                del self._heard[name]

    def tick(self, now: float) -> float:
        """Let time pass; when to call it again, at the latest."""
        due = float("inf")
        for channel in self._channels.values():
            sending = channel.sending
            if sending.due <= now:
                sending.tick(now, self._ways.carry)
            due = min(due, sending.due)
        for source, topic in self._acks:
            receiving = self._heard[source][topic].receiving
            self._ways.carry(source, receiving.ack(topic, self._ways.boot), Lane.CONTROL)
        self._acks.clear()
        return due

    # ---- receiving

    def take(self, said: Carried, source: str, link: Link) -> None:
        """What a node has sent to this one, proven."""
        if isinstance(said, Post):
            self._take_post(said, source, link)
        elif isinstance(said, Segment):
            self._take_segment(said, source)
        elif isinstance(said, Ack):
            channel = self._channels.get((source, said.topic))
            if channel is not None:
                channel.sending.take(said, trio.current_time())
                self._ways.wake()

    def _take_post(self, post: Post, source: str, link: Link) -> None:
        if source != link.peer:
            seen = self._seen.setdefault((source, post.lane), Seen())
            if seen.has(post.boot, post.number):
                self._ways.counters.duplicates += 1
                return
            seen.add(post.boot, post.number)
        if not self._topics.give(post.topic, source, post.data):
            self._ways.counters.dropped += 1

    def _take_segment(self, segment: Segment, source: str) -> None:
        ways, topic = self._ways, segment.topic
        if segment.receiver != ways.boot:
            ways.counters.duplicates += 1  # for an earlier start; reports tell the sender
            return
        heard = self._heard.setdefault(source, {})
        found = heard.get(topic)
        gap = partial(self._gap, topic, source)
        if found is None:
            if len(heard) >= MOST_TOPICS:
                ways.counters.dropped += 1
                return
            found = heard[topic] = _Heard(Receiving(segment.life))
        elif segment.life in found.over:
            ways.counters.duplicates += 1
            return
        elif segment.life != found.receiving.life:
            found.over.append(found.receiving.life)
            found.receiving = Receiving(segment.life)
            gap(f"{source!r} has begun anew: messages may be lost")
        receiving = found.receiving
        before = receiving.duplicates
        receiving.take(
            segment, partial(self._topics.give, topic, source), gap, ways.settings.waiting_bytes
        )
        ways.counters.duplicates += receiving.duplicates - before
        self._acks[source, topic] = None
        ways.wake()

    def _gap(self, topic: str, source: str, words: str) -> None:
        self._ways.counters.gaps += 1
        self._topics.give(topic + GAP, source, words.encode())

    # ---- status

    def waiting(self) -> int:
        """Messages that are not confirmed."""
        return sum(channel.sending.count for channel in self._channels.values())
