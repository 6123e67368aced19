"""Messages of one topic as a queue: for who takes them in a loop of its own, such as a consensus engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from flowcore.swarm.interfaces import MOST_MESSAGE, Lane, Overlay

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
        self._send, self._receive = trio.open_memory_channel[tuple[str, bytes]](waiting)
        self.dropped = 0
        """Messages that came while too many waited."""

    def send(self, to: str, message: bytes) -> bool:
        """Send without waiting; False if it surely does not arrive. It may be lost in any case."""
        return self._overlay.post(to, self._topic, message, self._lane)

    async def receive(self) -> tuple[str, bytes]:
        """The next message: from whom, and what. Those of one sender come in order over one way."""
        return await self._receive.receive()

    def taken(self, node: str, message: bytes) -> None:
        """A message has come: the receiver of the topic."""
        try:
            self._send.send_nowait((node, message))
        except trio.WouldBlock:
            self.dropped += 1


@asynccontextmanager
async def open_channel(
    overlay: Overlay, topic: str, *, lane: Lane = Lane.CONSENSUS, waiting: int = 4096
) -> AsyncGenerator[Channel]:
    """Take the messages of a topic as long as the block lasts; beyond `waiting` they are dropped."""
    channel = Channel(overlay, topic, lane, waiting)
    async with overlay.listen(topic, channel.taken):
        yield channel
