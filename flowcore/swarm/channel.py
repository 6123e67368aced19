"""Messages of one topic as a queue: for who takes them in a loop of its own, such as a consensus engine."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flowcore.http.wakeup import Wakeup
from flowcore.swarm.interfaces import MOST_MESSAGE, Lane, Overlay, Receiver

AROUND = 4096
"""Bytes of a message that are kept for what is around it on its way."""


class Channel:
    """Messages to and from the same topic of other nodes, whose names are proven. Made by `open_channel`."""

    most = MOST_MESSAGE - AROUND
    """Bytes of one message, at most."""

    def __init__(self, overlay: Overlay, topic: str, lane: Lane, waiting: int) -> None:
        self._overlay = overlay
        self._topic = topic
        self._lane = lane
        self._most_waiting = waiting
        self._arrived: deque[tuple[str, bytes]] = deque()
        self._more = Wakeup()
        self._receiver: Receiver | None = None
        self.dropped = 0
        """Messages that came while too many waited."""

    def send(self, to: str, message: bytes) -> bool:
        """Send without waiting; False if it surely does not arrive. It may be lost in any case."""
        return self._overlay.post(to, self._topic, message, self._lane)

    async def receive(self) -> tuple[str, bytes]:
        """The next message: from whom, and what. Those of one sender come in order over one way.

        One task may receive; no checkpoint where messages wait.
        """
        while not self._arrived:
            await self._more.wait()
        return self._arrived.popleft()

    @property
    def waiting(self) -> int:
        """Messages that have come and were not received yet."""
        return len(self._arrived)

    def hand_to(self, receiver: Receiver) -> None:
        """Give what comes to a receiver at once, in the task of its link, and do not have it wait here.

        It must be quick, and raise nothing. What waits already it gets first.
        """
        self._receiver = receiver
        while self._arrived:
            receiver(*self._arrived.popleft())

    def taken(self, node: str, message: bytes) -> None:
        """A message has come: the receiver of the topic."""
        if self._receiver is not None:
            self._receiver(node, message)
            return
        if len(self._arrived) >= self._most_waiting:
            self.dropped += 1
            return
        self._arrived.append((node, message))
        if len(self._arrived) == 1:
            self._more.set()


@asynccontextmanager
async def open_channel(
    overlay: Overlay, topic: str, *, lane: Lane = Lane.CONSENSUS, waiting: int = 4096
) -> AsyncGenerator[Channel]:
    """Take the messages of a topic as long as the block lasts; beyond `waiting` they are dropped."""
    channel = Channel(overlay, topic, lane, waiting)
    async with overlay.listen(topic, channel.taken):
        yield channel
