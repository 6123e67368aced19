"""What changes in the flow, told to every open stream that wants to hear of it."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Raw

from flow_edges.mcp.client import Client
from flow_edges.mcp.interests import Interests
from flow_edges.mcp.lists import Lists
from flowcore.agents import Elsewhere, Event, Notification, StateChanged
from flowcore.interfaces import Host
from flowcore.requests import Principal

LISTS_OF = {
    "tools/list": "notifications/tools/list_changed",
    "resources/list": "notifications/resources/list_changed",
    "resources/templates/list": "notifications/resources/list_changed",
    "prompts/list": "notifications/prompts/list_changed",
}


class Listener(Protocol):
    """A stream, or whoever else is told. None of these may block or raise."""

    def list_changed(self, method: str) -> None:
        """A list is not what it was; `method` is the notification's name."""
        ...

    def updated(self, uri: str, params: Raw) -> None:
        """A resource changed (`notifications/resources/updated`)."""
        ...

    def logged(self, agent: str, params: Raw, audience: Principal | None) -> None:
        """An agent logged something outside any call (`notifications/message`), for one principal or all."""
        ...


class _Updated(msgspec.Struct, gc=False):
    uri: str


_decode_updated = msgspec.json.Decoder(_Updated).decode


class Hub:
    """The listeners of an edge, and the tasks that tell them."""

    def __init__(self, host: Host, lists: Lists, interests: Interests) -> None:
        self._host = host
        self._lists = lists
        self._interests = interests
        self._listeners: dict[Listener, None] = {}
        self.streams = 0
        """How many streams of change notifications are open."""

    def add(self, listener: Listener) -> None:
        """Tell it everything from now on."""
        self._listeners[listener] = None

    def remove(self, listener: Listener) -> None:
        """Tell it no more. Unknown ones are ignored."""
        self._listeners.pop(listener, None)

    def shows(self, agent: str, client: Client) -> bool:
        """Whether a client is shown anything of an agent: else it does not hear its log either."""
        return self._lists.has(agent, client.principal)

    async def watch_lists(self) -> None:
        """Tell of each list that a client would see differently; changes in one go count once."""
        directory = self._host.directory
        revision = directory.revision
        for method in LISTS_OF:
            self._lists.changed(method)
        while True:
            revision = await directory.wait_changed(revision)
            changed = {LISTS_OF[method] for method in LISTS_OF if self._lists.changed(method)}
            for notification in sorted(changed):
                self._tell_list_changed(notification)

    def heed(self, event: Event) -> None:
        """Pass on what agents say outside calls, and renew interests at agents that come back."""
        if isinstance(event, Elsewhere):
            if isinstance(event.event, Notification):
                self.heed(event.event)
            elif isinstance(event.event, StateChanged):
                # it may be another node's from now on: whoever it is asks, it knows nothing yet
                self._interests.renew(event.event.agent)
        elif isinstance(event, StateChanged):
            if event.new.available and not event.old.available:
                self._interests.renew(event.agent)
        elif isinstance(event, Notification):
            if event.method == "notifications/resources/updated":
                self._updated(event.params)
            elif event.method == "notifications/message":
                for listener in tuple(self._listeners):
                    listener.logged(event.agent, event.params, event.audience)

    def _updated(self, params: Raw) -> None:
        try:
            uri = _decode_updated(params).uri
        except msgspec.MsgspecError:
            return
        for listener in tuple(self._listeners):
            listener.updated(uri, params)

    def _tell_list_changed(self, notification: str) -> None:
        for listener in tuple(self._listeners):
            listener.list_changed(notification)
