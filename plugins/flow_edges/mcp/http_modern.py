"""POST requests of 2026-07-28: every one stands alone."""

from __future__ import annotations

import trio
from msgspec import Raw

from flow_edges.mcp.client import Caller
from flow_edges.mcp.ladder import check_mirrors, check_params
from flow_edges.mcp.listen import Listening
from flow_edges.mcp.modern import Introduction, answer, introduced
from flow_edges.mcp.outline import Outline
from flow_edges.mcp.replies import accepted, answered, failed, succeeded
from flow_edges.mcp.service import check_version, supported
from flow_edges.mcp.settings import McpSettings
from flow_edges.mcp.shared import Shared
from flow_edges.mcp.streams import EVENTS, events, send_alive
from flow_edges.mcp.tasks import required
from flowcore.errors import CallError, InvalidArguments, InvalidRequest
from flowcore.http import Request, Response, Send, Stream, encode_event
from flowcore.mcp import Message, Notification
from flowcore.mcp import Request as Asked


class ModernHttp:
    """Serves clients of 2026-07-28 over HTTP."""

    def __init__(self, shared: Shared, settings: McpSettings) -> None:
        self._shared = shared
        self._service = shared.service
        self._keep_alive = settings.keep_alive

    async def post(
        self,
        request: Request,
        said: Outline,
        message: Message,
        meta: dict[str, Raw],
        introduction: Introduction | None,
        caller: Caller,
    ) -> Response | Stream:
        """The answer to one message; `meta` was taken out of its params. Raises CallError."""
        if type(message) is not Asked:
            return self._other(said, message)
        params = message.params
        if introduction is None:
            if said.version is not None:
                check_version(said.version)
            introduction = introduced(meta)
        check_mirrors(said, message, introduction.version)
        client = introduction.client(caller)
        method = supported(message.method, modern=True)
        if not method.asks:
            if message.method == "subscriptions/listen":
                self._service.attend(client)
                return self._listen(
                    request,
                    Listening(
                        self._service,
                        self._shared.hub,
                        self._shared.interests,
                        message.id,
                        params,
                        client,
                    ),
                )
            result = await answer(self._service, message.method, params, meta, client, said.trace)
            return succeeded(message.id, result)
        state = self._shared.state_of(method, params)
        if state is not None:
            exchange = self._shared.resume(message.id, state, method, params, client, meta)
            return await answered(exchange, modern=True, keep_alive=self._keep_alive)
        target = self._service.target(method, params, client, meta, said.trace)
        facts = None if target.tool is None else self._service.tools.facts(target.tool)
        if facts is not None and facts.headers:
            check_params(request.headers, facts.headers, params.get("arguments"))
        envelope = self._service.envelope(
            method, target, params, meta, client, said.key, said.trace
        )
        if self._shared.speaks(envelope, client):
            exchange = self._shared.start(message.id, method, params, target, envelope, client)
            return await answered(exchange, modern=True, keep_alive=self._keep_alive)
        if facts is not None and facts.tasks == "required":
            raise required()  # who could be given a task may be spoken to
        return succeeded(message.id, await self._service.submit(envelope, method, client))

    def _other(self, said: Outline, message: Message) -> Response:
        """Notifications are taken and have no effect: closing a stream is how a request is cancelled."""
        if not isinstance(message, Notification):
            return failed(None, InvalidRequest("clients send no responses in 2026-07-28"))
        try:
            if said.version is None:
                raise InvalidArguments("the header MCP-Protocol-Version is missing")
            check_version(said.version)
        except CallError as error:
            return failed(None, error, status=400)
        return accepted()

    def _listen(self, request: Request, listening: Listening) -> Stream:
        async def take() -> bytes:
            return events(await listening.outbox.take())

        async def run(send: Send) -> None:
            broken: trio.BrokenResourceError | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listening.run)
                nursery.start_soon(_close_on, request.draining, listening)
                try:
                    while await send_alive(send, take, self._keep_alive):
                        pass
                    await send(encode_event(listening.farewell()))
                except trio.BrokenResourceError as error:
                    broken = error
                nursery.cancel_scope.cancel()
            if broken is not None:
                raise broken

        return Stream(200, EVENTS, run)


async def _close_on(event: trio.Event, listening: Listening) -> None:
    await event.wait()
    listening.outbox.close()
