"""What is shown, looked at once for all who watch: topics, watchers, and a bounded queue for each of them.

A topic is looked at while somebody watches it, and only then; what is new in it is encoded once. A watcher
whose queue is full does not read: it is let go, and counted, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import trio

from flowcore.http import encode_event

LEAST = 0.1
"""Seconds between two looks at a topic, at least, however much happens."""


class Topic(Protocol):
    """One part of what is shown."""

    name: str
    """The name of its events."""
    action: str
    """What one must be permitted to do to watch it."""
    every: float
    """Seconds after which it is looked at again."""
    stirred: trio.Event
    """Set when it may be worth to look sooner; a new one takes its place with each look."""

    async def look(self) -> bytes | None:
        """What is new since the last look, as JSON; None if nothing is."""
        ...

    def whole(self) -> bytes:
        """All of it as it was at the last look, for who begins to watch."""
        ...


@attrs.define(eq=False)
class Watcher:
    """Somebody who watches some topics."""

    send: trio.MemorySendChannel[bytes]
    receive: trio.MemoryReceiveChannel[bytes]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled when it is let go."""
    dropped: bool = False
    """Whether that is for not reading."""

    def tell(self, event: bytes) -> bool:
        """Put an event into its queue; False if it is full, and the watcher let go."""
        try:
            self.send.send_nowait(event)
        except trio.WouldBlock:
            self.dropped = True
            self.scope.cancel()
            return False
        return True


@attrs.define
class Statistics:
    """Who watches, and what became of those who did."""

    open: int = 0
    served: int = 0
    dropped: int = 0
    """Let go because they did not read."""
    refused: int = 0
    """Turned away because too many watched."""


class _Followed:
    """A topic, and who watches it."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.watchers: list[Watcher] = []
        self.fresh: list[Watcher] = []
        """Those who have seen nothing of it yet."""
        self.wanted = trio.Event()


class Hub:
    """Made by `open_hub`."""

    def __init__(self, topics: Sequence[Topic], queue: int) -> None:
        self._followed = {topic.name: _Followed(topic) for topic in topics}
        self._queue = queue
        self._watchers: set[Watcher] = set()
        self.statistics = Statistics()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All there are."""
        return tuple(one.topic for one in self._followed.values())

    def enter(self, most: int) -> bool:
        """Whether there is room for one more, who then counts until `leave`."""
        if self.statistics.open >= most:
            self.statistics.refused += 1
            return False
        self.statistics.open += 1
        self.statistics.served += 1
        return True

    def leave(self) -> None:
        """One who has entered watches no more."""
        self.statistics.open -= 1

    @asynccontextmanager
    async def watching(self, names: Sequence[str]) -> AsyncGenerator[Watcher]:
        """Watch these topics: first all of each, then what is new, until the block is left."""
        watcher = Watcher(*trio.open_memory_channel[bytes](self._queue))
        followed = [self._followed[name] for name in names]
        self._watchers.add(watcher)
        for one in followed:
            one.watchers.append(watcher)
            one.fresh.append(watcher)
            one.wanted.set()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            self.statistics.dropped += watcher.dropped
            for one in followed:
                self._forget(one, watcher)

    @staticmethod
    def _forget(followed: _Followed, watcher: Watcher) -> None:
        for those in (followed.watchers, followed.fresh):
            if watcher in those:
                those.remove(watcher)

    def close(self) -> None:
        """Let everybody go."""
        for watcher in tuple(self._watchers):
            watcher.scope.cancel()

    async def follow(self, followed: _Followed) -> None:
        """Look at a topic as long as somebody watches it, until cancelled."""
        topic = followed.topic
        while True:
            if not followed.watchers:
                await followed.wanted.wait()
            followed.wanted = trio.Event()
            topic.stirred = trio.Event()
            data = await topic.look()
            self._tell(followed, data)
            await trio.sleep(LEAST)
            with trio.move_on_after(topic.every - LEAST):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_first, topic.stirred, nursery.cancel_scope)
                    nursery.start_soon(_first, followed.wanted, nursery.cancel_scope)

    def _tell(self, followed: _Followed, data: bytes | None) -> None:
        name = followed.topic.name
        news = None if data is None else encode_event(data, event=name)
        whole: bytes | None = None
        for watcher in tuple(followed.watchers):
            if watcher in followed.fresh:
                if whole is None:
                    whole = encode_event(followed.topic.whole(), event=name)
                followed.fresh.remove(watcher)
                event: bytes | None = whole
            else:
                event = news
            if event is not None and not watcher.tell(event):
                self._forget(followed, watcher)


async def _first(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def open_hub(topics: Sequence[Topic], *, queue: int) -> AsyncGenerator[Hub]:
    """A hub of these topics, each looked at in a task of its own."""
    hub = Hub(topics, queue)
    async with trio.open_nursery() as nursery:
        for one in hub._followed.values():
            nursery.start_soon(hub.follow, one)
        yield hub
        nursery.cancel_scope.cancel()
