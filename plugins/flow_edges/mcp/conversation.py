"""A client that shook hands: what it declared, what it is asked, and which of its calls run."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp.client import Caller, Client
from flow_edges.mcp.hub import Hub
from flow_edges.mcp.interests import Interests
from flow_edges.mcp.peers import wanted
from flowcore.errors import (
    InvalidArguments,
    InvalidRequest,
    Overloaded,
    UpstreamError,
)
from flowcore.mcp import (
    Id,
    Response,
    encode_notification,
    encode_request,
    negotiate,
    parse_capabilities,
    text_member,
)
from flowcore.mcp.meta import LEVELS
from flowcore.requests import Principal

_MOST_ASKED = 100
_MOST_CALLS = 10_000


@attrs.define(eq=False)
class _Asked:
    answered: trio.Event = attrs.field(factory=trio.Event)
    response: Response | None = None


class Conversation:
    """One client between `initialize` and the end: an HTTP session, or a process on stdio.

    It listens to the hub; what it is told goes to `outlet`, the stream that is not of any request, and is
    dropped while there is none.
    """

    def __init__(
        self,
        params: dict[str, Raw],
        principal: Principal,
        hub: Hub,
        interests: Interests,
        *,
        most_subscriptions: int,
        input_timeout: float,
    ) -> None:
        """`params` are those of `initialize`. Raises InvalidArguments if they are not right."""
        requested = text_member(params, "protocolVersion")
        if requested is None:
            raise InvalidArguments("params.protocolVersion is missing")
        self.version = negotiate(requested)
        self.client = Client(
            modern=False,
            version=self.version,
            principal=principal,
            capabilities=parse_capabilities(params.get("capabilities")),
            affinity=os.urandom(8),
        )
        self.outlet: Callable[[bytes], None] | None = None
        self.calls: dict[Id, trio.CancelScope] = {}
        self._asked: dict[Id, _Asked] = {}
        self._next = 0
        self._closed = False
        self._hub = hub
        self._interests = interests
        self._subscriptions: set[str] = set()
        self._most_subscriptions = most_subscriptions
        self._input_timeout = input_timeout
        hub.add(self)

    def client_as(self, caller: Caller) -> Client:
        """The client with what its principal may do now: between two requests that may change."""
        client = self.client
        if caller.principal is client.principal and caller.address == client.address:
            return client
        return msgspec.structs.replace(client, principal=caller.principal, address=caller.address)

    def close(self) -> None:
        """It is over: cancel its calls, hold no resource, hear no more."""
        self._closed = True
        self._hub.remove(self)
        self.outlet = None
        for scope in tuple(self.calls.values()):
            scope.cancel()
        for uri in self._subscriptions:
            self._interests.release(uri)
        self._subscriptions.clear()

    # ---- calls

    def begin(self, request: Id, scope: trio.CancelScope) -> None:
        """A request begins; `cancel` can end it. Raises InvalidRequest if its id is in use."""
        if request in self.calls:
            raise InvalidRequest(f"the id {request!r} is of a request that still runs")
        if len(self.calls) >= _MOST_CALLS:
            raise Overloaded(f"{_MOST_CALLS} requests of this client are running", retry_after=1.0)
        self.calls[request] = scope

    def ended(self, request: Id) -> None:
        """A request is over."""
        self.calls.pop(request, None)

    def cancel(self, params: dict[str, Raw]) -> None:
        """`notifications/cancelled`: end the request it names; what it does not name is left alone."""
        try:
            request = msgspec.json.decode(params.get("requestId", Raw(b"null")), type=int | str)
        except msgspec.MsgspecError:
            return
        scope = self.calls.get(request)
        if scope is not None:
            scope.cancel()

    # ---- questions to the client

    async def ask(self, emit: Callable[[bytes], None], method: str, params: Raw) -> Raw:
        """Put a question to the client over a stream it reads, and wait for its answer.

        Raises UpstreamError with the client's own error, InvalidArguments if it does not answer in time.
        """
        if len(self._asked) >= _MOST_ASKED:
            raise Overloaded(f"{_MOST_ASKED} questions to this client are open", retry_after=1.0)
        self._next += 1
        number, asked = self._next, _Asked()
        self._asked[number] = asked
        emit(encode_request(number, method, params))
        try:
            with trio.move_on_after(self._input_timeout):
                await asked.answered.wait()
        finally:
            del self._asked[number]
            if asked.response is None:
                reason = {"requestId": number, "reason": "no longer needed"}
                emit(encode_notification("notifications/cancelled", reason))
        if asked.response is None:
            raise InvalidArguments(f"the client did not answer {method} in time")
        if asked.response.error is not None:
            error = asked.response.error
            data = None if isinstance(error.data, msgspec.UnsetType) else error.data
            raise UpstreamError(error.message, code=error.code, data=data)
        assert asked.response.result is not None
        return asked.response.result

    def answer(self, response: Response) -> bool:
        """An answer came; whether anybody waits for it."""
        asked = None if response.id is None else self._asked.get(response.id)
        if asked is None or asked.response is not None:
            return False
        asked.response = response
        asked.answered.set()
        return True

    # ---- what it asked to hear

    def set_level(self, params: dict[str, Raw]) -> None:
        """`logging/setLevel`. Raises InvalidArguments."""
        level = text_member(params, "level")
        if level not in LEVELS:
            raise InvalidArguments(f"params.level must be one of {', '.join(LEVELS)}")
        self.client = msgspec.structs.replace(self.client, level=level)

    async def subscribe(self, params: dict[str, Raw], client: Client) -> None:
        """`resources/subscribe`, as `client` asks for it. Raises CallError."""
        uri = _uri(params)
        if uri in self._subscriptions:
            return
        if len(self._subscriptions) >= self._most_subscriptions:
            raise Overloaded(f"at most {self._most_subscriptions} subscriptions are allowed")
        self._interests.check(uri, client.principal)
        await self._interests.hold(uri, client.principal)
        if self._closed or uri in self._subscriptions:
            self._interests.release(uri)
        else:
            self._subscriptions.add(uri)

    def unsubscribe(self, params: dict[str, Raw]) -> None:
        """`resources/unsubscribe`. What it was not subscribed to is left alone."""
        uri = _uri(params)
        if uri in self._subscriptions:
            self._subscriptions.discard(uri)
            self._interests.release(uri)

    def list_changed(self, method: str) -> None:
        if self.outlet is not None:
            self.outlet(encode_notification(method))

    def updated(self, uri: str, params: Raw) -> None:
        if self.outlet is not None and uri in self._subscriptions:
            self.outlet(encode_notification("notifications/resources/updated", params))

    def logged(self, agent: str, params: Raw, audience: Principal | None) -> None:
        own = self.client.principal
        if audience is not None and (audience.scheme, audience.name) != (own.scheme, own.name):
            return
        if (
            self.outlet is not None
            and wanted(self.client, params)
            and self._hub.shows(agent, self.client)
        ):
            self.outlet(encode_notification("notifications/message", params))


def _uri(params: dict[str, Raw]) -> str:
    uri = text_member(params, "uri")
    if uri is None:
        raise InvalidArguments("params.uri is missing")
    return uri
