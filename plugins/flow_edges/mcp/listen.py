"""`subscriptions/listen` of 2026-07-28: a stream of the changes a client asked to hear of."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.client import Client
from flow_edges.mcp.hub import Hub
from flow_edges.mcp.interests import Interests
from flow_edges.mcp.outbox import Outbox
from flow_edges.mcp.peers import with_member
from flow_edges.mcp.service import Service
from flow_edges.mcp.tasks import required
from flowcore.errors import CallError, InvalidArguments, Overloaded
from flowcore.mcp import LIST_CHANGED, Id, encode_notification, encode_result, has_extension
from flowcore.mcp.meta import SERVER_INFO, SUBSCRIPTION_ID
from flowcore.requests import Principal, Task

logger = logging.getLogger(__name__)

_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_encode = msgspec.json.encode


class _Filter(msgspec.Struct, gc=False):
    toolsListChanged: bool = False  # noqa: N815 - the wire's names
    promptsListChanged: bool = False  # noqa: N815
    resourcesListChanged: bool = False  # noqa: N815
    resourceSubscriptions: list[str] = []  # noqa: N815 - msgspec copies it
    taskIds: list[str] = []  # noqa: N815


_decode_filter = msgspec.json.Decoder(_Filter).decode


class Listening:
    """One `subscriptions/listen` request. Every message carries its id; the first one acknowledges it."""

    def __init__(
        self,
        service: Service,
        hub: Hub,
        interests: Interests,
        request: Id,
        params: dict[str, Raw],
        client: Client,
    ) -> None:
        """Raises CallError if the filter is not right or there are too many streams."""
        limits = service.settings.limits
        raw = params.get("notifications")
        if raw is None:
            raise InvalidArguments("params.notifications is missing")
        try:
            wanted = _decode_filter(raw)
        except msgspec.MsgspecError as problem:
            raise InvalidArguments(f"params.notifications: {problem}") from None
        if wanted.taskIds and not has_extension(client.capabilities):
            raise required()
        if len(wanted.resourceSubscriptions) + len(wanted.taskIds) > limits.subscriptions:
            raise Overloaded(f"at most {limits.subscriptions} subscriptions are allowed")
        if hub.streams >= limits.streams:
            raise Overloaded(f"{limits.streams} streams are open", retry_after=1.0)
        self.outbox = Outbox(limits.backlog)
        self._service = service
        self._hub = hub
        self._interests = interests
        self._request = request
        self._principal = client.principal
        self._tag = Raw(_encode({SUBSCRIPTION_ID: request}))
        self._lists = {m for m, key in LIST_CHANGED.items() if getattr(wanted, key)}
        self._uris = {uri for uri in wanted.resourceSubscriptions if self._may_hear_of(uri, client)}
        self._tasks: list[Task] = []
        for task_id in dict.fromkeys(wanted.taskIds):
            task = service.tasks.find(task_id, client)
            if task is not None:
                self._tasks.append(task)
        self.outbox.put(self._acknowledgement())

    async def run(self) -> None:
        """Put into the outbox what happens, until cancelled."""
        self._hub.add(self)
        self._hub.streams += 1
        try:
            async with trio.open_nursery() as nursery:
                for uri in self._uris:
                    nursery.start_soon(self._hold, uri)
                for task in self._tasks:
                    nursery.start_soon(self._follow, task)
                await trio.sleep_forever()
        finally:
            self._hub.remove(self)
            self._hub.streams -= 1

    def farewell(self) -> bytes:
        """The result that ends the subscription in good order."""
        result = {
            "resultType": "complete",
            "_meta": {SUBSCRIPTION_ID: self._request, SERVER_INFO: Raw(self._service.server)},
        }
        return encode_result(self._request, _encode(result))

    def withdrawal(self) -> bytes:
        """What tells a client on stdio that its subscription was ended (basic/patterns/cancellation)."""
        params = {"requestId": self._request, "_meta": self._tag}
        return encode_notification("notifications/cancelled", params)

    # ---- what happens

    def list_changed(self, method: str) -> None:
        if method in self._lists:
            self.outbox.put_once(encode_notification(method, {"_meta": self._tag}))

    def updated(self, uri: str, params: Raw) -> None:
        if uri in self._uris:
            tagged = with_member(params, "_meta", self._tag)
            self.outbox.put(encode_notification("notifications/resources/updated", tagged))

    def logged(self, agent: str, params: Raw, audience: Principal | None) -> None:
        """Log messages belong to requests in 2026-07-28, never to this stream."""

    # ---- inside

    def _may_hear_of(self, uri: str, client: Client) -> bool:
        try:
            self._interests.check(uri, client.principal)
        except CallError:
            return False
        return True

    def _acknowledgement(self) -> bytes:
        honoured: dict[str, Any] = {LIST_CHANGED[method]: True for method in sorted(self._lists)}
        if self._uris:
            honoured["resourceSubscriptions"] = sorted(self._uris)
        if self._tasks:
            honoured["taskIds"] = [task.id for task in self._tasks]
        return encode_notification(_ACKNOWLEDGED, {"_meta": self._tag, "notifications": honoured})

    async def _hold(self, uri: str) -> None:
        """Keep an interest in a resource. An agent that refuses it disturbs nothing else."""
        try:
            await self._interests.hold(uri, self._principal)
        except CallError as error:
            logger.warning("no news of resource %s: %s", uri, error)
            return
        try:
            await trio.sleep_forever()
        finally:
            self._interests.release(uri)

    async def _follow(self, task: Task) -> None:
        while True:
            changed = task.changed
            document = {**self._service.tasks.detailed(task), "_meta": self._tag}
            self.outbox.put(encode_notification("notifications/tasks", document))
            if task.final:
                return
            await changed.wait()
