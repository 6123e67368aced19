"""How a connection listens for changes, in each era."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_agents.mcp.calls import Acknowledgement, Calls
from flow_agents.mcp.greeting import Capabilities
from flow_agents.mcp.listing import Ask
from flow_agents.mcp.subscriptions import Listener
from flow_agents.mcp.wire import Wire, upstream_error
from flowcore.errors import CallError, InvalidArguments, UpstreamFailure

logger = logging.getLogger(__name__)

_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 30.0
"""Seconds until a stream that ended is opened again, longer each time it cannot be opened."""

_PATIENCE: Final = 1.0
"""Seconds that the first stream may take to open before lists are read without it."""

_encode = msgspec.json.encode


class Listening(Listener, Protocol):
    """A connection's ear for changes."""

    async def run(self) -> None:
        """Keep it open, until cancelled."""
        ...

    async def settled(self) -> None:
        """Wait until it is open, or it is clear that it will not be. It does not wait long."""
        ...


class HandshakeListening:
    """Versions up to 2025-11-25: a request for each resource; changes of lists come unasked."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def subscribe(self, uri: str) -> None:
        await self._tell("resources/subscribe", uri)

    async def unsubscribe(self, uri: str) -> None:
        await self._tell("resources/unsubscribe", uri)

    async def _tell(self, method: str, uri: str) -> None:
        response = await self._ask(method, {"uri": Raw(_encode(uri))})
        if response.error is not None:
            raise upstream_error(response.error)

    async def run(self) -> None:
        await trio.sleep_forever()

    async def settled(self) -> None:
        """Changes come unasked."""


@attrs.define(eq=False)
class _Wish:
    """A resource that somebody waits to be subscribed to."""

    uri: str
    settled: trio.Event = attrs.field(factory=trio.Event)
    problem: CallError | None = None


@attrs.define(eq=False)
class _Stream:
    """One `subscriptions/listen`."""

    uris: frozenset[str]
    acknowledgement: Acknowledgement = attrs.field(factory=Acknowledgement)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    problem: CallError | None = None

    def problem_of(self, uri: str) -> CallError | None:
        """Why this stream does not tell of a resource that it should tell of; None if it does."""
        if not self.acknowledgement.came.is_set():
            return self.problem or UpstreamFailure("the upstream opens no stream of changes")
        if uri in _honoured(self.acknowledgement.notifications):
            return None
        return InvalidArguments("the upstream does not announce changes of this resource")


class _Notifications(msgspec.Struct, gc=False):
    resourceSubscriptions: list[str] = []  # noqa: N815 - the wire's name


def _honoured(notifications: Raw | None) -> list[str]:
    try:
        return msgspec.json.decode(
            notifications or b"{}", type=_Notifications
        ).resourceSubscriptions
    except msgspec.MsgspecError:
        return []


class ModernListening:
    """2026-07-28: one stream for all that is wished for; another set of resources means another stream.

    The new stream is open before the old one is left, so that no change falls between them.
    """

    def __init__(
        self, wire: Wire, calls: Calls, capabilities: Capabilities, missed: Callable[[], None]
    ) -> None:
        """`missed` is told when lists may have changed unheard."""
        self._wire = wire
        self._calls = calls
        self._missed = missed
        self._lists = _lists(capabilities)
        self._uris: set[str] = set()
        self._wishes: list[_Wish] = []
        self._changed = trio.Event()
        """Set, and replaced, when other resources are wished for."""
        self._settled = trio.Event()

    async def subscribe(self, uri: str) -> None:
        wish = _Wish(uri)
        self._wishes.append(wish)
        self._uris.add(uri)
        self._changed.set()
        kept = False
        try:
            await wish.settled.wait()
            if wish.problem is not None:
                raise wish.problem
            kept = True
        finally:
            self._wishes.remove(wish)
            if not kept:
                self._uris.discard(uri)
                self._changed.set()

    async def unsubscribe(self, uri: str) -> None:
        self._uris.discard(uri)
        self._changed.set()

    async def run(self) -> None:
        current: _Stream | None = None
        failures = 0
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = changed = trio.Event()
                if not self._lists and not self._uris:
                    self._settled.set()
                    if current is not None:
                        current.scope.cancel()
                        current = None
                    await changed.wait()
                    continue
                stream = _Stream(frozenset(self._uris))
                nursery.start_soon(self._listen, stream)
                await _first(stream.acknowledgement.came, stream.ended, changed)
                if not (stream.acknowledgement.came.is_set() or stream.ended.is_set()):
                    stream.scope.cancel()  # something else is wished for by now
                    continue
                self._settle(stream)
                if stream.acknowledgement.came.is_set():
                    failures = 0
                    if current is not None:
                        current.scope.cancel()
                    elif self._settled.is_set():
                        self._missed()
                    current = stream
                    self._settled.set()
                    await _first(changed, stream.ended)
                else:
                    failures += 1
                    self._settled.set()
                if stream.ended.is_set():
                    if current is stream:
                        current = None
                    with trio.move_on_after(
                        min(_FIRST_WAIT * 2 ** min(failures, 16), _LONGEST_WAIT)
                    ):
                        await changed.wait()

    async def settled(self) -> None:
        with trio.move_on_after(_PATIENCE):
            await self._settled.wait()
        self._settled.set()  # if it is open later than that, something may have been missed

    def _settle(self, stream: _Stream) -> None:
        """Tell those who wait whether their resource is subscribed to."""
        for wish in self._wishes:
            if wish.uri in stream.uris and not wish.settled.is_set():
                wish.problem = stream.problem_of(wish.uri)
                wish.settled.set()

    async def _listen(self, stream: _Stream) -> None:
        notifications: dict[str, object] = dict(self._lists)
        if stream.uris:
            notifications["resourceSubscriptions"] = sorted(stream.uris)
        call = self._calls.begin(
            "subscriptions/listen", {"notifications": Raw(_encode(notifications))}
        )
        call.acknowledgement = stream.acknowledgement
        try:
            with stream.scope:
                response = await self._wire.exchange(call)
                if response.error is not None:
                    stream.problem = upstream_error(response.error)
        except CallError as problem:
            stream.problem = problem
        finally:
            self._calls.end(call)
            stream.ended.set()
        if stream.problem is not None:
            logger.debug("a stream of changes ended: %s", stream.problem)


def _lists(capabilities: Capabilities) -> dict[str, bool]:
    """The part of the filter that speaks of lists: those that the upstream tells changes of."""
    declared = {
        "toolsListChanged": capabilities.tools,
        "resourcesListChanged": capabilities.resources,
        "promptsListChanged": capabilities.prompts,
    }
    return {name: True for name, features in declared.items() if features and features.listChanged}


async def _first(*events: trio.Event) -> None:
    """Wait until one of the events is set."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
