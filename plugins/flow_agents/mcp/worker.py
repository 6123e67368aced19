"""One connection to an upstream: the worker that calls go to."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_agents.mcp.beats import Beats
from flow_agents.mcp.calls import Calls, CallStatistics
from flow_agents.mcp.errands import Errands, open_errands
from flow_agents.mcp.greeting import Greeting, greet
from flow_agents.mcp.hearing import Hearing
from flow_agents.mcp.listening import HandshakeListening, Listening, ModernListening
from flow_agents.mcp.listing import KINDS, Bounds, Listing
from flow_agents.mcp.offers import Offers
from flow_agents.mcp.phrasing import phrasing
from flow_agents.mcp.questions import Questions
from flow_agents.mcp.settings import McpSettings
from flow_agents.mcp.subscriptions import Subscriptions
from flow_agents.mcp.wire import SessionExpired, Wire, upstream_error
from flowcore.agents import Traced
from flowcore.envelope import Envelope, Reply
from flowcore.errors import AgentUnavailable, CallError, InvalidArguments, UpstreamFailure
from flowcore.interfaces import AgentPort
from flowcore.mcp import (
    HEADER_MISMATCH,
    UNSUPPORTED_VERSION,
    Era,
    ErrorObject,
    Response,
    encode_notification,
    encode_value,
)
from flowcore.mcp.meta import LEVELS, LOG_LEVEL
from flowcore.telemetry import SpanKind, Value

logger = logging.getLogger(__name__)

_SUBSCRIBING: Final = frozenset({"resources/subscribe", "resources/unsubscribe"})

_decode_text = msgspec.json.Decoder(str).decode


@attrs.define(eq=False)
class Memory:
    """What the connections of one agent know of their upstream in common."""

    era: Era | None = None
    """The era it was of when it was last greeted."""
    subscriptions: Subscriptions = attrs.field(factory=Subscriptions)


class Upstream:
    """A connection to an upstream. Made by `open_upstream`."""

    def __init__(
        self,
        settings: McpSettings,
        port: AgentPort,
        memory: Memory,
        wire: Wire,
        calls: Calls,
        errands: Errands,
        *,
        aside: bool = False,
    ) -> None:
        """`aside`: this connection only does calls; another one lists, listens and announces."""
        self._settings = settings
        self._port = port
        self._memory = memory
        self._wire = wire
        self._calls = calls
        self._errands = errands
        self._aside = aside
        self._beats = Beats(calls, self._ping, errands)
        questions = Questions(
            calls, wire.tell, errands, allowed=settings.questions, roots=settings.roots
        )
        self._hearing = Hearing(calls, questions, port.notify, everyone=settings.logs == "everyone")
        wire.attach(self._hearing, errands)
        self._modern = False
        self._greeting: Greeting
        self._offers: Offers
        self._listening: Listening
        self._renewal = trio.Lock()
        self._level = len(LEVELS)
        """How severe a message must be for the upstream to log it, as far as we have told it."""
        self._lost = trio.Event()
        self._reason: CallError | None = None

    @property
    def traced(self) -> Traced:
        """How its calls are recorded."""
        said: dict[str, Value] = {"network.transport": "tcp" if self._wire.http else "pipe"}
        if self._wire.http:
            said["network.protocol.name"] = "http"
        return Traced(
            SpanKind.CLIENT,
            mcp=True,
            beside=True,
            attributes={**said, "mcp.protocol.version": self._greeting.version},
        )

    @property
    def modern(self) -> bool:
        """Whether 2026-07-28 is spoken on this connection."""
        return self._modern

    # ---- calls

    async def call(self, envelope: Envelope) -> Reply:
        """Have the upstream do a request. Raises CallError."""
        if envelope.method in _SUBSCRIBING:
            return await self._subscribe(envelope)
        if LOG_LEVEL in envelope.meta and not self._modern:
            await self._ask_for_logs(envelope.meta[LOG_LEVEL])
        response = await self._request(envelope.method, envelope.params, envelope)
        if response.error is not None:
            response = await self._after_error(response.error, envelope)
        assert response.result is not None
        if not self._modern:
            return Reply(response.result)
        data = bytes(response.result)
        # a result that does not say its type is completed like one of an earlier version; of one that does
        # not speak of an error nobody need look whether it is one
        return Reply(
            response.result, b'"resultType"' in data, None if b'"isError"' in data else False
        )

    async def _after_error(self, error: ErrorObject, envelope: Envelope) -> Response:
        """What comes of a request that was answered with an error: mostly that error, raised."""
        if error.code == HEADER_MISMATCH and self._modern and self._wire.http:
            # what headers must mirror has changed; nothing was done (2026-07-28, streamable-http)
            await self._offers.list({"tools"})
            response = await self._request(envelope.method, envelope.params, envelope)
            if response.error is None:
                return response
            error = response.error
        if error.code == UNSUPPORTED_VERSION and self._modern:
            self._lose(
                UpstreamFailure("the upstream does not speak the version any more that it did")
            )
        raise upstream_error(error)

    async def _request(
        self, method: str, params: dict[str, Raw], envelope: Envelope | None = None
    ) -> Response:
        """Send a request and wait for the response; if the session has expired, once more in a new one."""
        try:
            return await self._exchange(method, params, envelope)
        except SessionExpired as expired:
            session = expired.session
        await self._renew(session)
        return await self._exchange(method, params, envelope)

    async def _exchange(
        self, method: str, params: dict[str, Raw], envelope: Envelope | None = None
    ) -> Response:
        calls = self._calls
        call = calls.begin(method, params, envelope)
        if envelope is not None and method == "tools/call":
            mirrors = self._offers.mirrors(envelope.name)
            if mirrors:
                # 2026-07-28, streamable-http, custom headers
                arguments = envelope.arguments
                call.headers = tuple(
                    (mirror.header.encode(), encode_value(value).encode())
                    for mirror in mirrors
                    if (value := mirror.value(arguments)) is not None
                )
        try:
            response = await self._wire.exchange(call)
            call.answered = True
        except trio.Cancelled:
            calls.given_up()
            raise
        finally:
            calls.end(call)
        calls.heard()
        return response

    async def _subscribe(self, envelope: Envelope) -> Reply:
        try:
            uri = _decode_text(envelope.params["uri"])
        except (KeyError, msgspec.MsgspecError):
            raise InvalidArguments("params.uri must be a string") from None
        if envelope.method == "resources/subscribe":
            await self._memory.subscriptions.add(uri)
        else:
            await self._memory.subscriptions.remove(uri)
        return Reply(Raw(b"{}"))

    async def _ask_for_logs(self, raw: Raw) -> None:
        """Have the upstream log what this caller wants to see, if it logs less so far."""
        if self._greeting.capabilities.logging is None:
            return
        try:
            level = LEVELS.index(_decode_text(raw))
        except (ValueError, msgspec.MsgspecError):
            return
        if level < self._level:
            self._level = level
            response = await self._request("logging/setLevel", {"level": raw})
            if response.error is not None:
                logger.debug("agent %s sets no log level: %s", self._port.agent, response.error)

    async def ping(self) -> None:
        """Return if the upstream answers, or may be too busy with calls to do so. Raises CallError."""
        if self._calls.at_work:
            self._beats.beat()
        else:
            await self._ping()

    async def _ping(self) -> None:
        # any answer is a sign of life, an error too
        await self._request("server/discover" if self._modern else "ping", {})

    def statistics(self) -> CallStatistics:
        """Counts of answers that nobody waited for."""
        return self._calls.statistics()

    # ---- the beginning, and after a lost session

    async def ask(self, method: str, params: dict[str, Raw]) -> Response:
        """A request of our own, in the words agreed upon so far."""
        return await self._exchange(method, params)

    async def tell(self, method: str) -> None:
        """A notification of our own."""
        await self._wire.tell(encode_notification(method))

    def speak(self, version: str) -> None:
        """From now on speak this version."""
        words = phrasing(version, self._settings.questions)
        self._modern = words.modern
        self._wire.speak(words)

    async def begin(self) -> None:
        """Greet the upstream. Raises CallError."""
        settings = self._settings
        remembered, self._memory.era = self._memory.era, None
        greeting = self._greeting = await greet(self, settings, remembered)
        self._memory.era = Era.MODERN if self._modern else Era.HANDSHAKE
        listing = Listing(
            self._port.agent,
            greeting,
            Bounds(entries=settings.most_entries, size=settings.most_listed),
            mirrored=self._modern and self._wire.http,
        )
        self._offers = Offers(listing, greeting.capabilities, self._request, self._port, settings)
        self._hearing.attach(self._offers, modern=self._modern)
        if self._modern:
            self._listening = ModernListening(
                self._wire, self._calls, greeting.capabilities, self._offers.missed
            )
        else:
            self._listening = HandshakeListening(self._request)
        self._wire.agreed()

    async def _renew(self, session: str) -> None:
        """Begin another session, unless somebody has since. Raises AgentUnavailable."""
        async with self._renewal:
            if self._wire.session != session:
                return
            try:
                self._greeting = await greet(self, self._settings, Era.HANDSHAKE)
            except AgentUnavailable:
                raise
            except CallError as error:
                self._lose(error)
                raise AgentUnavailable(
                    f"there is no new session with the upstream: {error}"
                ) from error
            await self._wire.settled()
            self._level = len(LEVELS)
            self._offers.changed(KINDS)
            self._errands.run(self._memory.subscriptions.renew, self._listening)

    # ---- as long as it lasts

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Everything that goes on while the connection is open; raises when it is lost."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wire.run)
            nursery.start_soon(self._raise_when_lost)
            await self.begin()
            if self._aside:
                await self._wire.settled()
                task_status.started()
                return
            nursery.start_soon(self._listening.run)
            # who listens before it reads misses nothing
            await self._wire.settled()
            await self._listening.settled()
            await self._offers.list()
            nursery.start_soon(self._offers.keep)
            await nursery.start(self._memory.subscriptions.serve, self._listening)
            task_status.started()

    def _lose(self, error: CallError) -> None:
        """This connection is of no use any more."""
        if self._reason is None:
            self._reason = error
            self._lost.set()

    async def _raise_when_lost(self) -> None:
        await self._lost.wait()
        assert self._reason is not None
        raise self._reason


@asynccontextmanager
async def open_upstream(
    settings: McpSettings,
    port: AgentPort,
    memory: Memory,
    calls: Calls,
    opening: AbstractAsyncContextManager[Wire],
    *,
    aside: bool = False,
) -> AsyncGenerator[Upstream]:
    """Open a connection: it is ready when it is greeted and what it offers is announced.

    The block ends with an exception when the connection is lost.
    """
    try:
        async with opening as wire, open_errands() as errands:
            upstream = Upstream(settings, port, memory, wire, calls, errands, aside=aside)
            async with trio.open_nursery() as nursery:
                await nursery.start(upstream.run)
                try:
                    yield upstream
                finally:
                    nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _only(group) from None


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group comes down to: its one exception; or, where a connection was lost and what waited for it
    failed of that, the loss. Else the group as it is."""
    leaves = list(_leaves(group))
    if len(leaves) == 1:
        return leaves[0]
    losses = [leaf for leaf in leaves if type(leaf) is UpstreamFailure]
    if losses and all(isinstance(leaf, CallError) for leaf in leaves):
        return losses[0]
    return group


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
