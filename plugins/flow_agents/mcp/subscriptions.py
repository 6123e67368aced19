"""Resources that somebody wants to hear of, for as long as the agent lives, whichever connection tells.

One connection of an agent listens for all; when it is lost, the next takes over. How it listens is its era's
business: `resources/subscribe` for each, or one stream of `subscriptions/listen` for all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

import trio

from flowcore.errors import AgentUnavailable, CallError

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """A connection that can listen."""

    async def subscribe(self, uri: str) -> None:
        """Hear of a resource from now on. Raises CallError."""
        ...

    async def unsubscribe(self, uri: str) -> None:
        """Hear of it no more. Raises CallError."""
        ...


class Subscriptions:
    """What is wanted of one upstream, and who listens for it."""

    def __init__(self) -> None:
        self._wanted: dict[str, int] = {}
        self._listeners: list[tuple[Listener, trio.Event]] = []

    @property
    def wanted(self) -> Mapping[str, int]:
        """The resources' URIs, and how often each is wanted."""
        return self._wanted

    async def add(self, uri: str) -> None:
        """Somebody wants to hear of a resource. Raises CallError if the upstream does not agree."""
        if uri in self._wanted:
            self._wanted[uri] += 1
            return
        await self._listener().subscribe(uri)
        self._wanted[uri] = self._wanted.get(uri, 0) + 1

    async def remove(self, uri: str) -> None:
        """Somebody wants it no more. What was not wanted is left alone."""
        count = self._wanted.get(uri, 0)
        if count > 1:
            self._wanted[uri] = count - 1
        elif count == 1:
            del self._wanted[uri]
            await self._listener().unsubscribe(uri)

    def _listener(self) -> Listener:
        if not self._listeners:
            raise AgentUnavailable("no connection to the upstream is there to listen")
        return self._listeners[0][0]

    async def serve(self, listener: Listener, *, task_status: trio.TaskStatus[None]) -> None:
        """Offer a connection; when it is its turn to listen, have it subscribe to all that is wanted.

        Runs until cancelled.
        """
        turn = trio.Event()
        entry = (listener, turn)
        self._listeners.append(entry)
        self._listeners[0][1].set()
        task_status.started()
        try:
            await turn.wait()
            await self.renew(listener)
            await trio.sleep_forever()
        finally:
            self._listeners.remove(entry)
            if self._listeners:
                self._listeners[0][1].set()

    async def renew(self, listener: Listener) -> None:
        """The connection's upstream has forgotten all: if it is the one that listens, tell it anew."""
        if not self._listeners or self._listeners[0][0] is not listener:
            return
        for uri in tuple(self._wanted):
            try:
                await listener.subscribe(uri)
            except CallError as error:
                logger.warning("changes of %s are not heard any more: %s", uri, error)
