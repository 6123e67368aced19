"""One client on stdio: both eras on one channel, any number of requests at a time."""

from __future__ import annotations

import logging

import msgspec
import trio
from msgspec import Raw

from flow_edges.mcp import handshake, modern
from flow_edges.mcp.batches import Item, answer_batch
from flow_edges.mcp.client import Caller
from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.exchange import Exchange
from flow_edges.mcp.listen import Listening
from flow_edges.mcp.service import supported
from flow_edges.mcp.settings import StdioSettings
from flow_edges.mcp.shared import Shared
from flow_edges.mcp_stdio.descriptors import Receive, Send
from flow_edges.mcp_stdio.lines import Lines, LineTooLong
from flow_edges.mcp_stdio.writer import Writer
from flowcore.agents import State
from flowcore.errors import CallError, InternalError, InvalidRequest, Overloaded
from flowcore.mcp import (
    BATCHES,
    Id,
    Message,
    Notification,
    ParseError,
    Request,
    Response,
    decode,
    decode_batch,
    encode_error,
    encode_result,
    error_for,
    failed_id,
    is_batch,
    split_meta,
)
from flowcore.mcp.meta import PROTOCOL_VERSION
from flowcore.requests import Principal

logger = logging.getLogger(__name__)

LOCAL_CLIENT = Principal(name="stdio", scheme="process")
"""Who started this process: it needs no further proof of who it is."""
LOCAL_CALLER = Caller(LOCAL_CLIENT)


class StdioConnection:
    """Serves one client over lines of JSON."""

    def __init__(
        self, shared: Shared, settings: StdioSettings, receive: Receive, send: Send
    ) -> None:
        self._shared = shared
        self._service = shared.service
        self._settings = settings
        self._lines = Lines(receive, settings.line)
        self._writer = Writer(send, settings.limits.backlog)
        self._conversation: Conversation | None = None
        self._calls: dict[Id, trio.CancelScope] = {}
        """Every request that has been taken and not been answered: it can be cancelled from the first."""
        self._running = 0
        self._idle = trio.Event()
        self._reading = trio.CancelScope()
        self._draining = trio.Event()
        self._finished = trio.Event()
        self._settled = trio.Event()

    async def serve(self) -> None:
        """Read and answer until the input ends, or `finish`; requests under way may go on for a while."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._writer.run)
            nursery.start_soon(self._settle)
            with self._reading:
                await self._read(nursery)
            self._draining.set()
            if self._running:
                await self._settled.wait()
            with trio.move_on_after(self._settings.drain):
                while self._running:
                    self._idle = trio.Event()
                    await self._idle.wait()
            with trio.move_on_after(self._settings.drain):
                await self._writer.flush()
            if self._conversation is not None:
                self._conversation.close()
            nursery.cancel_scope.cancel()
        self._finished.set()

    async def finish(self) -> None:
        """Read no more, and wait until what is under way has been answered or has had its time."""
        self._reading.cancel()
        await self._finished.wait()

    async def _settle(self) -> None:
        """A client that starts us asks at once, and often once: let agents that are starting come up."""
        directory = self._service.host.directory
        with trio.move_on_after(self._settings.settle):
            while any(member.state is State.STARTING for member in directory.members()):
                await directory.wait_changed(directory.revision)
        self._settled.set()

    async def _read(self, nursery: trio.Nursery) -> None:
        while not self._writer.broken:
            try:
                line = await self._lines.next()
            except LineTooLong as error:
                self._refuse(None, ParseError(str(error)))
                continue
            if line is None:
                return
            if line.strip():
                self._take(line, nursery)
            await self._writer.room(self._settings.line)  # who does not read is not read from

    def _take(self, line: bytes, nursery: trio.Nursery) -> None:
        depth = self._settings.limits.nesting
        try:
            message = decode(line, depth=depth)
        except CallError as error:
            if is_batch(line) and not isinstance(error, ParseError):
                self._batch(line, nursery)
            else:
                self._refuse(failed_id(line), error)
            return
        self._message(message, nursery)

    def _message(self, message: Message, nursery: trio.Nursery) -> None:
        if not isinstance(message, Request):
            self._other(message)
            return
        try:
            meta = split_meta(message.params)
            if message.method == "initialize" and PROTOCOL_VERSION not in meta:
                client = handshake.stranger(LOCAL_CALLER)
                with self._service.recording(message.method, message.params, meta, client, None):
                    self._initialize(message)
                return
            if self._running >= self._settings.calls:
                most = self._settings.calls
                raise Overloaded(f"{most} requests are running", retry_after=1.0)
            if message.id in self._calls:
                raise InvalidRequest(f"the id {message.id!r} is of a request that still runs")
        except CallError as error:
            self._refuse(message.id, error)
            return
        self._running += 1
        self._calls[message.id] = scope = trio.CancelScope()
        nursery.start_soon(self._answer, message, meta, scope)

    def _initialize(self, message: Request) -> None:
        if self._conversation is not None:
            raise InvalidRequest("this client has been initialized")
        self._conversation = self._shared.converse(message.params, LOCAL_CLIENT)
        result = self._service.initialized(self._conversation.version)
        self._writer.put(encode_result(message.id, result))
        self._conversation.outlet = self._writer.offer

    def _other(self, message: Message) -> None:
        if isinstance(message, Response):
            if self._conversation is not None:
                self._conversation.answer(message)
        elif isinstance(message, Notification) and message.method == "notifications/cancelled":
            self._cancel(message)

    def _cancel(self, message: Notification) -> None:
        if self._conversation is not None:
            self._conversation.cancel(message.params)
        try:
            request = msgspec.json.decode(
                message.params.get("requestId", Raw(b"null")), type=int | str
            )
        except msgspec.MsgspecError:
            return
        scope = self._calls.get(request)
        if scope is not None:
            scope.cancel()

    # ---- requests

    async def _answer(
        self, message: Request, meta: dict[str, Raw], scope: trio.CancelScope
    ) -> None:
        modern_one = PROTOCOL_VERSION in meta or self._conversation is None
        try:
            with scope:
                if message.method not in ("ping", "server/discover"):
                    await self._settled.wait()
                if modern_one:
                    await self._modern(message, meta)
                elif self._conversation is not None:
                    await self._handshake(self._conversation, message, meta)
        except CallError as error:
            self._refuse(message.id, error, modern=modern_one)
        except Exception:
            logger.exception("a request failed within the edge")
            self._refuse(message.id, InternalError("internal error"))
        finally:
            del self._calls[message.id]
            self._ended()

    def _ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def _handshake(
        self, conversation: Conversation, message: Request, meta: dict[str, Raw]
    ) -> None:
        method = supported(message.method, modern=False)
        client, params = conversation.client, message.params
        if not method.asks:
            with trio.CancelScope() as scope:
                conversation.begin(message.id, scope)
                try:
                    result = await handshake.answer(
                        self._service, conversation, message.method, params, meta, client
                    )
                finally:
                    conversation.ended(message.id)
                self._writer.put(encode_result(message.id, result))
            return
        target = self._service.target(method, params, client, meta)
        envelope = self._service.envelope(method, target, params, meta, client)
        await self._carry(
            self._shared.start_for(conversation, message.id, envelope, method, client)
        )

    async def _modern(self, message: Request, meta: dict[str, Raw]) -> None:
        if message.method == "ping" and PROTOCOL_VERSION not in meta:
            nobody = handshake.stranger(LOCAL_CALLER)
            with self._service.recording(message.method, message.params, meta, nobody, None):
                self._writer.put(encode_result(message.id, b"{}"))
            return
        client = modern.introduced(meta).client(LOCAL_CALLER)
        method = supported(message.method, modern=True)
        params = message.params
        if message.method == "subscriptions/listen":
            await self._listen(
                Listening(
                    self._service,
                    self._shared.hub,
                    self._shared.interests,
                    message.id,
                    params,
                    client,
                )
            )
            return
        if not method.asks:
            result = await modern.answer(self._service, message.method, params, meta, client)
            self._writer.put(encode_result(message.id, result))
            return
        state = self._shared.state_of(method, params)
        if state is not None:
            exchange = self._shared.resume(message.id, state, method, params, client, meta)
        else:
            target = self._service.target(method, params, client, meta)
            envelope = self._service.envelope(method, target, params, meta, client)
            exchange = self._shared.start(message.id, method, params, target, envelope, client)
        await self._carry(exchange)

    async def _carry(self, exchange: Exchange) -> None:
        """Write what a call says, until it is answered. Being cancelled cancels the call, unanswered."""
        try:
            while not exchange.done:
                frames = await exchange.take()
                for frame in frames:
                    self._writer.put(frame)
        finally:
            exchange.abandon()

    async def _listen(self, listening: Listening) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listening.run)
            nursery.start_soon(self._end_when_draining, listening)
            while frames := await listening.outbox.take():
                for frame in frames:
                    self._writer.offer(frame)
            self._writer.put(listening.farewell())
            self._writer.put(listening.withdrawal())
            nursery.cancel_scope.cancel()

    async def _end_when_draining(self, listening: Listening) -> None:
        await self._draining.wait()
        listening.outbox.close()

    # ---- batches

    def _batch(self, line: bytes, nursery: trio.Nursery) -> None:
        """A batch of 2025-03-26: its messages are taken one by one, as if each had a line of its own.

        JSON-RPC 2.0 (section 6) lets a server answer in any order; one array holds all answers there.
        """
        conversation = self._conversation
        if conversation is None or conversation.version not in BATCHES:
            self._refuse(None, InvalidRequest("batches are not supported"))
            return
        try:
            messages = decode_batch(
                line, limit=self._settings.limits.batch, depth=self._settings.limits.nesting
            )
        except CallError as error:
            self._refuse(None, error)
            return
        self._running += 1
        nursery.start_soon(self._answer_batch, conversation, messages)

    async def _answer_batch(self, conversation: Conversation, messages: list[Item]) -> None:
        try:
            await self._settled.wait()
            answers = await answer_batch(
                self._service, conversation, messages, LOCAL_CALLER, self._other
            )
            if answers is not None:
                self._writer.put(answers)
        finally:
            self._ended()

    def _refuse(self, request: Id | None, error: CallError, *, modern: bool = True) -> None:
        self._writer.put(encode_error(request, error_for(error, modern=modern)))
