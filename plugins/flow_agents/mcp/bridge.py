"""Two connections to one upstream: each client meets it in its own era.

A server that speaks 2026-07-28 as well as a version with a handshake may have tools that ask the client while
they work, which only clients that shook hands can be asked, and tools that ask by ending their call, which
only clients of 2026-07-28 know. So a handshake client that can be asked is served over a connection that
shook hands, too. It is opened when the first such call comes and closed when none has come for a while;
everything else, such as lists and subscriptions, goes over the first connection. For a server that knows only
one era there is only one connection, and the edges translate.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import attrs
import trio

from flow_agents.mcp.calls import CallStatistics
from flow_agents.mcp.greeting import NoCommonVersion
from flow_agents.mcp.worker import Upstream
from flowcore.agents import Traced
from flowcore.envelope import Envelope, Reply
from flowcore.errors import CallError, UpstreamError, UpstreamFailure
from flowcore.interfaces import AgentPort
from flowcore.mcp import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_VERSION

logger = logging.getLogger(__name__)

_KNOWS_NOT: Final = (METHOD_NOT_FOUND, INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION)
"""Errors that answer `initialize` where it is not known."""

Opening = Callable[[], AbstractAsyncContextManager[Upstream]]
"""Opens the second connection."""

_BRIDGED: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests whose work may ask the client."""
_PATIENCE: Final = 30.0
"""Seconds that the second connection may take to open."""
_IDLE: Final = 300.0
"""Seconds without a call after which the second connection is closed."""
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
"""Seconds before a connection that failed is tried again, longer each time."""


@attrs.define(eq=False)
class Eras:
    """What is known of one agent's upstream."""

    modern_only: bool = False
    """It was asked to shake hands, and does not know how."""


@attrs.define(eq=False)
class _Second:
    """The connection for handshake clients, from the moment it is being opened."""

    settled: trio.Event = attrs.field(factory=trio.Event)
    """Set when it is open, or cannot be opened."""
    upstream: Upstream | None = None
    active: int = 0
    """Calls under way on it, or about to be."""
    used: float = 0.0
    """When one ended last."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class Bridge:
    """The worker of an upstream that may be of both eras. Made by `open_bridge`."""

    def __init__(
        self,
        first: Upstream,
        opening: Opening,
        eras: Eras,
        questions: frozenset[str],
        port: AgentPort,
        nursery: trio.Nursery,
    ) -> None:
        self.first = first
        self._opening = opening
        self._eras = eras
        self._questions = questions
        self._port = port
        self._nursery = nursery
        self._second: _Second | None = None
        self._failures = 0
        self._again = 0.0
        """Not before then is the second connection tried again."""

    @property
    def traced(self) -> Traced:
        """How its calls are recorded: which version each is in depends on who asks."""
        first = self.first.traced
        said = {k: v for k, v in first.attributes.items() if k != "mcp.protocol.version"}
        return Traced(first.kind, mcp=True, beside=True, attributes=said)

    @property
    def second(self) -> Upstream | None:
        """The connection for handshake clients, while it is open."""
        return self._second.upstream if self._second is not None else None

    async def call(self, envelope: Envelope) -> Reply:
        """Have the upstream do a request, in the era of who asks. Raises CallError."""
        if not self._bridged(envelope):
            return await self.first.call(envelope)
        second = self._second or self._open()
        if second is None:
            return await self.first.call(envelope)
        second.active += 1
        try:
            await second.settled.wait()
            if second.upstream is not None:
                return await second.upstream.call(envelope)
        finally:
            second.active -= 1
            second.used = trio.current_time()
        return await self.first.call(envelope)

    def _bridged(self, envelope: Envelope) -> bool:
        return (
            not envelope.modern
            and self.first.modern
            and not self._eras.modern_only
            and envelope.method in _BRIDGED
            and not self._questions.isdisjoint(envelope.peer.capabilities)
        )

    def _open(self) -> _Second | None:
        """Begin to open the second connection; None where that has failed a moment ago."""
        now = trio.current_time()
        if now < self._again:
            return None
        second = self._second = _Second(used=now)
        self._nursery.start_soon(self._keep, second)
        return second

    async def _keep(self, second: _Second) -> None:
        """Have it open while it is used."""
        opened = False
        try:
            with trio.CancelScope(deadline=trio.current_time() + _PATIENCE) as opening:
                async with self._opening() as upstream:
                    opened = True
                    opening.deadline = float("inf")
                    self._failures = 0
                    second.upstream = upstream
                    second.settled.set()
                    with second.scope:
                        await self._until_idle(second)
        except Exception as error:
            self._failed(error, opened=opened)
        else:
            if not opened:
                self._failed(UpstreamFailure(f"not open within {_PATIENCE:g} s"), opened=False)
        finally:
            if self._second is second:
                self._second = None
            second.upstream = None
            second.settled.set()

    def _failed(self, error: Exception, *, opened: bool) -> None:
        """It failed, before or after it was open. Calls on it have been told; the next ones open another, or
        go over the first connection for a while, where what is asked is translated."""
        if opened:
            what = "was lost"
        elif isinstance(error, NoCommonVersion) or (
            isinstance(error, UpstreamError) and error.wire_code in _KNOWS_NOT
        ):
            self._eras.modern_only = True
            what = "is not to be had: it speaks 2026-07-28 only, and questions are translated"
        else:
            what = "cannot be opened, and questions are translated meanwhile"
            wait = min(_FIRST_WAIT * 2.0**self._failures, _LONGEST_WAIT)
            self._again = trio.current_time() + wait
            self._failures = min(self._failures + 1, 16)
        said = f"the connection for clients that shake hands {what}: {error}"
        logger.info("agent %s: %s", self._port.agent, said)
        self._port.stderr(said)

    async def _until_idle(self, second: _Second) -> None:
        while True:
            await trio.sleep_until(second.used + _IDLE)
            if second.active:
                second.used = trio.current_time()
            elif trio.current_time() >= second.used + _IDLE:
                if self._second is second:
                    self._second = None  # no call comes to it while it closes
                return

    async def ping(self) -> None:
        """Return if the upstream answers. A second connection that does not is closed, and no more.

        Raises CallError.
        """
        second = self._second
        if second is not None and second.upstream is not None:
            try:
                await second.upstream.ping()
            except CallError as error:
                self._port.stderr(f"the connection for clients that shake hands is silent: {error}")
                second.scope.cancel()
        await self.first.ping()

    def statistics(self) -> CallStatistics:
        """Counts of answers that nobody waited for, on the first connection."""
        return self.first.statistics()


@asynccontextmanager
async def open_bridge(
    first: AbstractAsyncContextManager[Upstream],
    opening: Opening,
    eras: Eras,
    questions: tuple[str, ...],
    port: AgentPort,
) -> AsyncGenerator[Bridge]:
    """A worker over one connection, and another one where it is needed; both end with the block."""
    async with first as upstream, trio.open_nursery() as nursery:
        yield Bridge(upstream, opening, eras, frozenset(questions), port, nursery)
        nursery.cancel_scope.cancel()
