"""What happens to the agents of a node, told to the other nodes, in order and once."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import Any

import trio
from msgspec import Raw

from flowcore.agents import (
    CatalogChanged,
    Elsewhere,
    Event,
    Notification,
    State,
    StateChanged,
    Watchers,
)
from flowcore.envelope import Principal
from flowcore.errors import SwarmError
from flowcore.federation.wire import Happened, WrongMessage, pack, state_of, unpack
from flowcore.swarm import Overlay

logger = logging.getLogger(__name__)

TOPIC = "events"
WAITING = 1000
"""Events that wait to be sent to one node; more are lost, and it is told so."""


class Telling:
    """The events of this node on their way out, and those of the others on their way in."""

    def __init__(self, overlay: Overlay, watchers: Watchers, apart: frozenset[str]) -> None:
        self._overlay = overlay
        self._watchers = watchers
        self._apart = apart
        self._queues: dict[str, trio.MemorySendChannel[tuple[float, Event]]] = {}
        self._lacking: set[str] = set()
        """Nodes that something was not told, and do not know it yet."""
        self.told = self.lost = self.heard = self.gaps = 0

    async def run(self) -> None:
        """Tell and hear, until cancelled."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._overlay.listen(TOPIC, self._hear))
            await stack.enter_async_context(self._overlay.listen(TOPIC + "/gap", self._gap))
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(self._watchers.call(self._tell, activity=False))
            async for _ in self._overlay.changes():
                there = self._overlay.reachable()
                for node in there:
                    if node not in self._queues:
                        send, receive = trio.open_memory_channel[tuple[float, Event]](WAITING)
                        self._queues[node] = send
                        nursery.start_soon(self._send, node, receive)

    def _tell(self, event: Event) -> None:
        """An event of this node: to everybody who is there."""
        if not isinstance(event, StateChanged | CatalogChanged | Notification):
            return
        if event.agent in self._apart:
            return
        for node, send in tuple(self._queues.items()):
            try:
                send.send_nowait((trio.current_time(), event))
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._lose(node)

    def _lose(self, node: str) -> None:
        self.lost += 1
        self._lacking.add(node)

    async def _send(
        self, node: str, receive: trio.MemoryReceiveChannel[tuple[float, Event]]
    ) -> None:
        """Send what happens to one node, as long as it can be reached; what is missing is told first."""
        try:
            async with receive:
                async for at, event in receive:
                    try:
                        if node in self._lacking:
                            await self._overlay.send(node, TOPIC, pack(Happened()))
                            self._lacking.discard(node)
                        message = pack(_happened(event, trio.current_time() - at))
                        await self._overlay.send(node, TOPIC, message)
                        self.told += 1
                    except SwarmError as error:
                        self._lose(node)
                        if node not in self._overlay.reachable():
                            logger.info("node %s is not told what happens here: %s", node, error)
                            return  # from the next change on, if it can be reached then
        finally:
            self._queues.pop(node, None)

    def _hear(self, node: str, message: bytes) -> None:
        try:
            told = unpack(message, Happened)
            event = _event(told) if told.agent else None
        except WrongMessage as error:
            logger.warning("node %s told something that cannot be read: %s", node, error)
            return
        self.heard += event is not None
        self.gaps += event is None
        self._watchers.emit(Elsewhere(node, event))

    def lost_with(self, node: str, agent: str, state: State, reason: str) -> None:
        """An agent is lost with its node, which cannot tell of it any more."""
        event = StateChanged(agent, state, State.STOPPED, reason, trio.current_time())
        self._watchers.emit(Elsewhere(node, event))

    def back_with(self, node: str, agent: str, state: State, reason: str) -> None:
        """An agent is there again with its node; what it did meanwhile nobody here was told."""
        event = StateChanged(agent, State.STOPPED, state, reason, trio.current_time())
        self._watchers.emit(Elsewhere(node, event))

    def _gap(self, node: str, message: bytes) -> None:
        del message
        self.gaps += 1
        self._watchers.emit(Elsewhere(node, None))

    def status(self) -> dict[str, Any]:
        """What it has done, measured."""
        return {"told": self.told, "lost": self.lost, "heard": self.heard, "gaps": self.gaps}


def _happened(event: Event, ago: float) -> Happened:
    if isinstance(event, StateChanged):
        return Happened(
            event.agent,
            ago=max(0.0, ago),
            old=event.old.value,
            new=event.new.value,
            reason=event.reason,
        )
    if isinstance(event, Notification):
        audience = event.audience
        return Happened(
            event.agent,
            ago=ago,
            method=event.method,
            params=bytes(event.params),
            audience=None if audience is None else audience.name,
            scheme="" if audience is None else audience.scheme,
        )
    assert isinstance(event, CatalogChanged)
    kinds = [kind for kind in ("tools", "resources", "prompts") if getattr(event, kind)]
    return Happened(event.agent, ago=ago, reason=",".join(kinds))


def _event(told: Happened) -> StateChanged | CatalogChanged | Notification:
    if told.new:
        at = trio.current_time() - max(0.0, told.ago)
        return StateChanged(told.agent, state_of(told.old), state_of(told.new), told.reason, at)
    if told.method:
        audience = (
            None if told.audience is None else Principal(name=told.audience, scheme=told.scheme)
        )
        return Notification(told.agent, told.method, Raw(told.params), audience)
    kinds = told.reason.split(",")
    return CatalogChanged(
        told.agent,
        tools="tools" in kinds,
        resources="resources" in kinds,
        prompts="prompts" in kinds,
    )
