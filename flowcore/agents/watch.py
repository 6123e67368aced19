"""Telling everyone who watches, without ever waiting for them, or failing with them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from flowcore.agents.events import Event, Lost, StateChanged
from flowcore.agents.state import State

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Queue:
    send: trio.MemorySendChannel[Event]
    lost: int = 0


class Watchers:
    """Bounded queues and callbacks; an event goes to each, and a full queue loses it and says so later."""

    def __init__(self) -> None:
        self._queues: list[_Queue] = []
        self._callbacks: tuple[Callable[[Event], None], ...] = ()
        self._calm: tuple[Callable[[Event], None], ...] = ()
        """Callbacks that do not want to hear of each call's beginning and end."""
        self.curious = False
        """Whether anybody wants to hear of these: so often that nobody should be asked without need."""

    def emit(self, event: Event) -> None:
        """Give the event to every watcher. Never blocks, never raises."""
        if self._calm:
            self._call(self._calm, event)
        self._tell(event)

    def stirred(self, agent: str, old: State, new: State, at: float) -> None:
        """An agent that was idle is busy, or the other way round."""
        self._tell(StateChanged(agent, old, new, "", at))

    def _tell(self, event: Event) -> None:
        self._call(self._callbacks, event)
        for queue in self._queues:
            try:
                if queue.lost:
                    queue.send.send_nowait(Lost(queue.lost))
                    queue.lost = 0
                queue.send.send_nowait(event)
            except trio.WouldBlock:
                queue.lost += 1
            except trio.BrokenResourceError:
                continue  # it closed its end, and will leave its block

    def _call(self, callbacks: tuple[Callable[[Event], None], ...], event: Event) -> None:
        for callback in callbacks:
            try:
                callback(event)
            except Exception:
                # an observer's fault is not the agent's: it hears no more, and the log says why
                self._forget(callback)
                logger.exception("an observer of events failed and is told no more")

    def call(
        self, callback: Callable[[Event], None], *, activity: bool = True
    ) -> Callable[[], None]:
        """Call `callback` with every event from now on, until the returned function is called.

        Without `activity` it does not hear how agents go from idle to busy and back, with each call.
        The callback runs in the task that caused the event: it must be quick. One that raises is told
        no more.
        """
        told = partial(callback)  # one of its own for each call: the same may be given twice
        if activity:
            self._callbacks = (*self._callbacks, told)
            self.curious = True
        else:
            self._calm = (*self._calm, told)
        return partial(self._forget, told)

    def _forget(self, told: Callable[[Event], None]) -> None:
        self._callbacks = tuple(one for one in self._callbacks if one is not told)
        self._calm = tuple(one for one in self._calm if one is not told)
        self._look()

    def _look(self) -> None:
        self.curious = bool(self._callbacks or self._queues)

    @asynccontextmanager
    async def watch(self, limit: int) -> AsyncGenerator[trio.MemoryReceiveChannel[Event]]:
        """Every event from now on, at most `limit` waiting."""
        send, receive = trio.open_memory_channel[Event](limit)
        queue = _Queue(send)
        self._queues.append(queue)
        self.curious = True
        try:
            async with receive:
                yield receive
        finally:
            self._queues.remove(queue)
            self._look()
            send.close()
