"""What one open edge has: its service, its tasks in the background, and the calls that run on their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from msgspec import Raw

from flow_edges.mcp.channel import Channel
from flow_edges.mcp.client import Client
from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.exchange import Exchange
from flow_edges.mcp.hub import Hub
from flow_edges.mcp.interests import Interests
from flow_edges.mcp.modern import input_responses
from flow_edges.mcp.parking import Parking, digest_of
from flow_edges.mcp.peers import Asker, Talker, hears_log
from flow_edges.mcp.running import Running
from flow_edges.mcp.service import Service
from flow_edges.mcp.settings import ServiceSettings
from flowcore.agents import Target
from flowcore.interfaces import Host
from flowcore.mcp import Id, Method, encode_input_required, text_member
from flowcore.mcp.meta import PROGRESS_TOKEN
from flowcore.requests import Envelope, Principal


class Shared:
    """Made by `open_shared`."""

    def __init__(
        self, host: Host, settings: ServiceSettings, edge: str, nursery: trio.Nursery
    ) -> None:
        self.settings = settings
        self.service = Service(host, settings, edge)
        self.interests = Interests(host, self.service.sight, nursery)
        self.hub = Hub(host, self.service.lists, self.interests)
        self.parking = Parking(most=settings.limits.parked, seconds=settings.input_timeout)
        self._nursery = nursery

    def converse(self, params: dict[str, Raw], principal: Principal) -> Conversation:
        """A conversation with a client that sent `initialize`. Raises InvalidArguments."""
        return Conversation(
            params,
            principal,
            self.hub,
            self.interests,
            most_subscriptions=self.settings.limits.subscriptions,
            input_timeout=self.settings.input_timeout,
        )

    def speaks(self, envelope: Envelope, client: Client) -> bool:
        """Whether the work of a request may have something to say or to ask before its answer."""
        if PROGRESS_TOKEN in envelope.meta or client.capabilities:
            return True
        return hears_log(client) and (
            self.service.host.directory.by_name(envelope.agent).catalog.logging
        )

    def start(
        self,
        request: Id,
        method: Method,
        params: dict[str, Raw],
        target: Target,
        envelope: Envelope,
        client: Client,
    ) -> Exchange:
        """Have a 2026-07-28 request worked on, by a call that may speak before it answers.

        `params` are as they came. Raises MissingCapability if the tool is only to be called as a task, and
        the client knows no tasks.
        """
        as_task = method.name == "tools/call" and self.service.tasks.wanted(client, target.tool)
        running = Running(self.settings.limits.backlog)

        async def work() -> bytes:
            if as_task:
                return await self.service.tasks.call(envelope, target.tool)
            return await self.service.submit(envelope, method, client)

        self._begin(running, envelope, client, running.ask, work)
        return self._exchange(request, running, client, method, params)

    def resume(
        self,
        request: Id,
        state: str,
        method: Method,
        params: dict[str, Raw],
        client: Client,
        meta: dict[str, Raw],
    ) -> Exchange:
        """Go on with a parked call, with the input that its client's retry brings.

        Raises InvalidArguments if the state or the input is not right.
        """
        answers = input_responses(params)
        digest = digest_of(method.name, params)
        running = self.parking.resume(state, client.principal.owner, digest)
        if running.peer is not None:
            running.peer.client = client
            running.peer.token = meta.get(PROGRESS_TOKEN)
        try:
            running.answer(answers)
        except BaseException:
            running.scope.cancel()
            raise
        return self._exchange(request, running, client, method, params)

    def start_for(
        self,
        conversation: Conversation | None,
        request: Id,
        envelope: Envelope,
        method: Method,
        client: Client,
    ) -> Exchange:
        """The same for a client that shook hands; it is asked by requests among the messages.

        Raises InvalidRequest if the client has another request of this id under way.
        """
        running = Running(self.settings.limits.backlog)

        async def ask(name: str, params: Raw) -> Raw:
            assert conversation is not None  # without one there are no capabilities to be asked by
            return await conversation.ask(running.emit, name, params)

        async def work() -> bytes:
            try:
                return await self.service.submit(envelope, method, client)
            finally:
                if conversation is not None:
                    conversation.ended(request)

        if conversation is not None:
            conversation.begin(request, running.scope)
        self._begin(running, envelope, client, ask, work)
        return Exchange(request, running, modern=False, park=None)

    def fill(self, channel: Channel, exchange: Exchange) -> None:
        """Put what a call says into a stream from now on, whoever carries it, until its answer."""
        self._nursery.start_soon(_fill, channel, exchange)

    def state_of(self, method: Method, params: dict[str, Raw]) -> str | None:
        """The state by which a request resumes a parked call; None if it does not."""
        if not method.asks or "requestState" not in params:
            return None
        state = text_member(params, "requestState")
        return state if state is not None and self.parking.owns(state) else None

    def _begin(
        self,
        running: Running,
        envelope: Envelope,
        client: Client,
        ask: Asker,
        work: Callable[[], Awaitable[bytes]],
    ) -> None:
        running.peer = Talker(client, envelope.meta, running.emit, ask)
        running.peer.envelope = envelope
        envelope.peer = running.peer
        self._nursery.start_soon(running.run, work)

    def _exchange(
        self,
        request: Id,
        running: Running,
        client: Client,
        method: Method,
        params: dict[str, Raw],
    ) -> Exchange:
        def park(running: Running) -> bytes:
            digest = digest_of(method.name, params)
            state = self.parking.park(running, client.principal.owner, digest)
            questions = {
                key: (question.method, question.params)
                for key, question in running.questions.items()
            }
            return encode_input_required(questions, state, self.service.server)

        return Exchange(request, running, modern=True, park=park)


async def _fill(channel: Channel, exchange: Exchange) -> None:
    with channel.scope:
        try:
            while not exchange.done:
                put_all(channel, exchange, await exchange.take())
        finally:
            exchange.abandon()
            channel.finish()


def put_all(channel: Channel, exchange: Exchange, frames: list[bytes]) -> None:
    """Put what was taken from an exchange into a stream; the answer ends it."""
    last = frames.pop() if exchange.done and frames else None
    for frame in frames:
        channel.put(frame)
    if exchange.done:
        channel.finish(last)


@asynccontextmanager
async def open_shared(
    host: Host, settings: ServiceSettings, component: str = ""
) -> AsyncGenerator[Shared]:
    """What one edge shares among its clients, with its tasks; all of them end with the block.

    `component` is the edge's name as a component, such as `edge.mcp`.
    """
    async with trio.open_nursery() as nursery:
        shared = Shared(host, settings, component.removeprefix("edge."), nursery)
        nursery.start_soon(shared.hub.watch_lists)
        unwatch = host.watch(shared.hub.heed, activity=False)
        try:
            yield shared
        finally:
            unwatch()
            nursery.cancel_scope.cancel()
