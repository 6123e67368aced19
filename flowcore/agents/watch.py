"""Telling everyone who watches, without ever waiting for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from flowcore.agents.events import Event, Lost


class Watchers:
    """A set of bounded queues; an event goes to each, and a full one loses it and says so later."""

    def __init__(self) -> None:
        self._queues: dict[trio.MemorySendChannel[Event], int] = {}
        self._callbacks: dict[int, Callable[[Event], None]] = {}
        self._next = 0

    def emit(self, event: Event) -> None:
        """Give the event to every watcher. Never blocks."""
        for callback in tuple(self._callbacks.values()):
            callback(event)
        for queue, lost in self._queues.items():
            try:
                if lost:
                    queue.send_nowait(Lost(lost))
                    self._queues[queue] = 0
                queue.send_nowait(event)
            except trio.WouldBlock:
                self._queues[queue] += 1

    def call(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every event from now on, until the returned function is called.

        The callback runs in the task that caused the event: it must be quick and must not raise.
        """
        number = self._next
        self._next += 1
        self._callbacks[number] = callback
        return lambda: self._callbacks.pop(number, None) and None

    @asynccontextmanager
    async def watch(self, limit: int) -> AsyncGenerator[trio.MemoryReceiveChannel[Event]]:
        """Every event from now on, at most `limit` waiting."""
        send, receive = trio.open_memory_channel[Event](limit)
        self._queues[send] = 0
        try:
            async with receive:
                yield receive
        finally:
            del self._queues[send]
            await send.aclose()
