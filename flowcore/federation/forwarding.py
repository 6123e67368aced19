"""A request on its way to another node, and its answer on the way back.

The envelope crosses as it is, but for its deadline, which travels as what is left of it. Progress and log
messages come back as they are said; what the work asks of its caller is asked here, where the caller is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Reply
from flowcore.errors import (
    AgentUnavailable,
    CallError,
    DeadlineExceeded,
    InternalError,
    OutcomeUnknown,
    StreamBroken,
    TooLarge,
    Unreachable,
)
from flowcore.federation.placed import NodeFailed
from flowcore.federation.places import Place
from flowcore.federation.wire import (
    Asked,
    End,
    Failed,
    Given,
    Notified,
    Part,
    Wanted,
    WrongMessage,
    error_of,
    failed,
    heard,
    pack,
)
from flowcore.swarm import MOST_OPENING, Lane, Overlay, Stream, pieces
from flowcore.telemetry import Span, SpanKind, Value, tool_failed

logger = logging.getLogger(__name__)

SERVICE = "requests"
SUBMIT = "flowcore.requests/submit"
"""What one node asks of another, as OpenTelemetry names the methods of RPC."""
_AGAIN = 0.25
"""Seconds after which a request is tried again that had no way: there may be another one by then."""
QUESTIONS = 16
"""Questions of one request that may wait for answers at a time."""


class Forwarding:
    """Requests that other nodes do for this one."""

    def __init__(self, overlay: Overlay, most: Callable[[], int]) -> None:
        """`most` gives how many bytes a result may have."""
        self._overlay = overlay
        self._most = most
        self._under_way: dict[str, set[_Call]] = {}
        self.sent = self.failed = self.unknown = 0

    async def forward(self, place: Place, envelope: Envelope) -> Reply:
        """Have a request done at a place. Raises CallError; NodeFailed where the way or the node failed."""
        above = envelope.recorded()
        if above is None:
            return await self._forward(place, envelope)
        span = above.child(
            SUBMIT, SpanKind.CLIENT, trio.current_time(), of_forwarding, (envelope, place.node)
        )
        envelope.span, envelope.meta = span, span.carried(envelope.meta)
        try:
            reply = await self._forward(place, envelope)
            if envelope.method == "tools/call" and tool_failed(reply.result):
                span.fail("tool_error")
        except NodeFailed as error:
            span.failed_by(error.outcome)
            raise
        except CallError as error:
            span.failed_by(error)
            raise
        except BaseException:
            span.note(**{"flowcore.cancelled": True})
            raise
        finally:
            envelope.span = above
            span.finish(trio.current_time())
        return reply

    async def _forward(self, place: Place, envelope: Envelope) -> Reply:
        now = trio.current_time()
        call = _Call(place.node, envelope)
        calls = self._under_way.setdefault(place.node, set())
        calls.add(call)
        self.sent += 1
        envelope.attempts += 1
        try:
            with trio.CancelScope(deadline=envelope.deadline) as scope:
                envelope.scope = call.scope = scope
                envelope.started = now
                return await self._ask(call)
            if call.lost:
                raise self._lost(call, call.lost)
            raise DeadlineExceeded(
                f"node {place.node!r} did not answer before the deadline",
                data={"agent": envelope.agent, "node": place.node},
                began=call.began,
            )
        finally:
            calls.discard(call)
            if not calls and self._under_way.get(place.node) is calls:
                del self._under_way[place.node]

    def lost(self, node: str, reason: str) -> None:
        """A node is gone: what it was doing ends now, and nobody waits for it."""
        for call in tuple(self._under_way.get(node, ())):
            call.lost = reason
            if call.scope is not None:
                call.scope.cancel()

    async def _ask(self, call: _Call) -> Reply:
        envelope, node = call.envelope, call.node
        alone = not envelope.peer.capabilities  # nobody is asked anything: no task but this one
        request = pack(asked(envelope))
        head = request if len(request) <= MOST_OPENING else b""
        if head:  # from here on nobody knows, until it has said
            call.began = envelope.began = True
        try:
            stream = await self._overlay.open(
                node, SERVICE, head, Lane.REQUESTS, whole=alone and bool(head)
            )
        except StreamBroken as error:
            raise self._lost(call, str(error)) from error
        except Unreachable as error:
            call.began = envelope.began = False
            self.failed += 1
            raise NodeFailed(
                AgentUnavailable(
                    f"node {node!r} cannot be reached: {error}",
                    data={"agent": envelope.agent, "node": node},
                    retry_after=_AGAIN,
                )
            ) from error
        try:
            async with stream:
                if not head:
                    await self._tell(call, request, stream)
                if alone:
                    if not head:
                        await stream.finish()
                    return await self._hear(call, stream, None)
                async with trio.open_nursery() as nursery:
                    reply = await self._hear(call, stream, nursery)
                    await stream.finish()
                    nursery.cancel_scope.cancel()
        except* _Failed as group:
            raise _only(group) from None
        except* (StreamBroken, WrongMessage) as group:
            raise self._lost(call, str(group.exceptions[0])) from group
        return reply

    async def _tell(self, call: _Call, request: bytes, stream: Stream) -> None:
        """Tell a request that is too large for a head."""
        *first, last = pieces(request)
        for piece in first:
            await stream.send(pack(Part(piece)))
        call.began = call.envelope.began = True
        await stream.send(pack(End(data=last)))

    async def _hear(self, call: _Call, stream: Stream, nursery: trio.Nursery | None) -> Reply:
        """Hear what comes of it."""
        envelope = call.envelope
        got: list[bytes] = []
        size = waiting = 0
        sending = trio.Lock()

        async def answer(wanted: Wanted) -> None:
            nonlocal waiting
            try:
                given = await self._answered(envelope, wanted)
                async with sending:
                    await stream.send(pack(given))
            finally:
                waiting -= 1

        while True:
            chunk = await stream.receive()
            if chunk is None:
                raise StreamBroken("it ended without an outcome")
            match heard(chunk):
                case End(modern, data) if not got:
                    return Reply(Raw(data), modern)
                case Part(data) | End(_, data) as part:
                    size += len(data)
                    if size > self._most():
                        raise _Failed(self._too_large(call))
                    got.append(data)
                    if isinstance(part, End):
                        return Reply(Raw(b"".join(got)), part.modern)
                case Notified(method, params):
                    envelope.peer.notify(method, Raw(params))
                case Wanted() as wanted:
                    if nursery is None or waiting >= QUESTIONS:
                        raise WrongMessage("a question too many")
                    waiting += 1
                    nursery.start_soon(answer, wanted)
                case Failed() as told:
                    error = error_of(told)
                    call.began = envelope.began = told.began
                    raise _Failed(error)

    def _too_large(self, call: _Call) -> TooLarge:
        return TooLarge(
            f"the result of {call.envelope.agent!r} at node {call.node!r} is larger than"
            f" {self._most()} bytes",
            began=True,
        )

    async def _answered(self, envelope: Envelope, wanted: Wanted) -> Given:
        try:
            result = await envelope.peer.request(wanted.method, Raw(wanted.params))
        except CallError as error:
            return Given(wanted.number, None, pack(failed(error)))
        except Exception:
            logger.exception("the caller of request %s could not be asked", envelope.id)
            fault = InternalError("whoever asked could not be asked")
            return Given(wanted.number, None, pack(failed(fault)))
        return Given(wanted.number, bytes(result))

    def _lost(self, call: _Call, why: str) -> NodeFailed:
        self.failed += 1
        if not call.began:
            return NodeFailed(
                AgentUnavailable(
                    f"node {call.node!r} was lost before it began: {why}",
                    data={"node": call.node},
                    retry_after=_AGAIN,
                )
            )
        self.unknown += 1
        return NodeFailed(
            OutcomeUnknown(
                f"node {call.node!r} was lost while it did this request: it may have happened ({why})",
                data={"agent": call.envelope.agent, "node": call.node},
            )
        )


class _Call:
    """One request that is under way at another node."""

    __slots__ = ("began", "envelope", "lost", "node", "scope")

    def __init__(self, node: str, envelope: Envelope) -> None:
        self.node = node
        self.envelope = envelope
        self.scope: trio.CancelScope | None = None
        self.began = False
        self.lost = ""
        """Why it is given up; empty while it is not."""


class _Failed(Exception):
    """The other node told an outcome that is no result."""

    def __init__(self, outcome: CallError) -> None:
        self.outcome = outcome


def _only(group: BaseExceptionGroup[_Failed]) -> CallError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, _Failed)
    return found.outcome


def of_forwarding(span: Span) -> dict[str, Value]:
    """What the span of a request that is sent to another node says."""
    about: tuple[Envelope, str] = span.about  # type: ignore[assignment]
    envelope, node = about
    return {
        "rpc.system.name": "flowcore",
        "rpc.method": SUBMIT,
        "server.address": node,
        "gen_ai.agent.name": envelope.agent,
        "flowcore.request.id": envelope.id,
        "flowcore.attempt": envelope.attempts,
    }


def asked(envelope: Envelope) -> Asked:
    """A request as it is told to another node."""
    principal = envelope.principal
    return Asked(
        id=envelope.id,
        method=envelope.method,
        agent=envelope.agent,
        name=envelope.name,
        left=max(0.0, envelope.deadline - trio.current_time()),
        params={name: bytes(raw) for name, raw in envelope.params.items()},
        meta={name: bytes(raw) for name, raw in envelope.meta.items()},
        principal=principal.name,
        scheme=principal.scheme,
        roles=tuple(sorted(principal.roles)),
        scopes=tuple(sorted(principal.scopes)),
        priority=int(envelope.priority),
        explicit=envelope.explicit,
        key=envelope.idempotency_key,
        affinity=envelope.affinity,
        client=envelope.client,
        modern=envelope.modern,
        capabilities={name: bytes(raw) for name, raw in envelope.peer.capabilities.items()},
        attempt=max(1, envelope.attempts),
    )
