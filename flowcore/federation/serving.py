"""Requests that other nodes send here: taken in, done as any other, answered.

They come by the pseudo edge `swarm`, pass the guards of the node and of the agent, and are done here or not
at all: a request does not travel twice.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
import trio
from msgspec import Raw

from flowcore.envelope import Envelope, Principal, Priority, Reply
from flowcore.errors import (
    CallError,
    InternalError,
    InvalidRequest,
    OutcomeUnknown,
    StreamBroken,
    TooLarge,
    UnknownMethod,
)
from flowcore.federation.forwarding import QUESTIONS, SUBMIT
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
    pack,
    said,
    unpack,
)
from flowcore.swarm import Stream, pieces
from flowcore.telemetry import Span, SpanKind, Tracer, Value

logger = logging.getLogger(__name__)

EDGE = "swarm"
"""The edge by which requests of other nodes come."""
BACKLOG = 1000
"""What the work says before its answer, and is not sent yet; more is dropped and counted."""


class Serving:
    """What answers the requests of other nodes."""

    def __init__(
        self,
        node: str,
        submit: Callable[[Envelope], Awaitable[Reply]],
        most: Callable[[], int],
        tracer: Tracer | None = None,
    ) -> None:
        """`most` gives how many bytes a request may have; `tracer` records requests, if there is one."""
        self._tracer = tracer
        self._node = node
        self._submit = submit
        self._most = most
        self.served = self.refused = self.dropped = 0

    async def serve(self, node: str, head: bytes, stream: Stream) -> None:
        """Do one request of another node: the handler of a stream, whose head is the request if it fits."""
        try:
            async with stream:
                await self._serve(node, head, stream)
        except* StreamBroken as group:
            logger.debug("a request of node %s went away: %s", node, group.exceptions[0])

    async def _serve(self, node: str, head: bytes, stream: Stream) -> None:
        try:
            asked = await self._asked(head, stream)
            envelope = self._envelope(asked)
        except WrongMessage as error:
            self.refused += 1
            await _tell(stream, failed(InvalidRequest(str(error), began=False)))
        except CallError as error:
            self.refused += 1
            await _tell(stream, failed(error))
        else:
            self.served += 1
            tracer = self._tracer
            if tracer is None or not tracer.enabled:
                await self._do(envelope, asked, stream)
                return
            envelope.span = span = tracer.begin(
                SUBMIT,
                SpanKind.SERVER,
                trio.current_time(),
                of_serving,
                (envelope.agent, envelope.id, node),
                parent=tracer.parent_in(envelope.meta),
            )
            try:
                await self._do(envelope, asked, stream)
            finally:
                span.finish(trio.current_time())

    async def _asked(self, head: bytes, stream: Stream) -> Asked:
        if len(head) > self._most():
            raise TooLarge(f"the request is larger than {self._most()} bytes")
        if head:
            return unpack(head, Asked)
        got: list[bytes] = []
        size = 0
        while True:
            chunk = await stream.receive()
            if chunk is None:
                raise WrongMessage("a request that ends in the middle")
            match said(chunk):
                case End(_, data) if not got:
                    return unpack(data, Asked)
                case Part(data) | End(_, data) as part:
                    size += len(data)
                    if size > self._most():
                        raise TooLarge(f"the request is larger than {self._most()} bytes")
                    got.append(data)
                    if isinstance(part, End):
                        return unpack(b"".join(got), Asked)
                case Given():
                    raise WrongMessage("an answer to no question")

    def _envelope(self, asked: Asked) -> Envelope:
        if not math.isfinite(asked.left) or asked.left < 0:
            raise WrongMessage(f"a deadline of {asked.left} s from now")
        try:
            priority = Priority(asked.priority)
        except ValueError:
            raise WrongMessage(f"an unknown priority {asked.priority}") from None
        for raw in (*asked.params.values(), *asked.meta.values(), *asked.capabilities.values()):
            _check_json(raw)
        return Envelope(
            # each attempt has an outcome of its own here, whatever became of those before
            id=asked.id if asked.attempt <= 1 else f"{asked.id}/{asked.attempt}",
            method=asked.method,
            agent=asked.agent,
            name=asked.name,
            params={name: Raw(raw) for name, raw in asked.params.items()},
            meta={name: Raw(raw) for name, raw in asked.meta.items()},
            principal=Principal(
                name=asked.principal,
                scheme=asked.scheme,
                roles=frozenset(asked.roles),
                scopes=frozenset(asked.scopes),
            ),
            deadline=trio.current_time() + asked.left,
            explicit=asked.explicit,
            priority=priority,
            idempotency_key=asked.key,
            affinity=asked.affinity,
            edge=EDGE,
            client=asked.client,
            node=self._node,
            modern=asked.modern,
        )

    async def _do(self, envelope: Envelope, asked: Asked, stream: Stream) -> None:
        """The work, with what it says and asks meanwhile; its caller's going away ends it."""
        async with trio.open_nursery() as nursery:
            peer = envelope.peer = _Asker(asked, envelope, stream, nursery, self)
            stream.breaks(nursery.cancel_scope)  # who asked went away: it is for nobody
            if peer.capabilities:
                nursery.start_soon(self._hear, stream, peer, nursery.cancel_scope)
            outcome: Reply | Failed
            try:
                outcome = await self._submit(envelope)
            except CallError as error:
                outcome = failed(error)
                if envelope.span is not None:
                    envelope.span.failed_by(error)
            await peer.said_all()
            if isinstance(outcome, Reply):
                *first, last = pieces(bytes(outcome.result))
                for piece in first:
                    await stream.send(pack(Part(piece)))
                await stream.send(pack(End(outcome.modern, last)))
                await stream.finish()
            else:
                await _tell(stream, outcome)
            nursery.cancel_scope.cancel()

    async def _hear(self, stream: Stream, peer: _Asker, scope: trio.CancelScope) -> None:
        """Take the answers in."""
        try:
            while (chunk := await stream.receive()) is not None:
                match said(chunk):
                    case Given() as given:
                        peer.given(given)
                    case _:
                        raise WrongMessage("a request after its end")
        except (StreamBroken, WrongMessage) as error:
            logger.debug("a request is given up: %s", error)
            scope.cancel()


def of_serving(span: Span) -> dict[str, Value]:
    """What the span of a request that another node sent says."""
    about: tuple[str, str, str] = span.about  # type: ignore[assignment]
    agent, request, node = about
    return {
        "rpc.system.name": "flowcore",
        "rpc.method": SUBMIT,
        "client.address": node,
        "gen_ai.agent.name": agent,
        "flowcore.request.id": request,
    }


async def _tell(stream: Stream, outcome: Failed) -> None:
    await stream.send(pack(outcome))
    await stream.finish()


def _check_json(raw: bytes) -> None:
    try:
        msgspec.json.decode(raw, type=Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise WrongMessage("params that are no JSON") from None


class _Asker:
    """The asking side of a request of another node, as the work sees it."""

    def __init__(
        self,
        asked: Asked,
        envelope: Envelope,
        stream: Stream,
        nursery: trio.Nursery,
        serving: Serving,
    ) -> None:
        self.capabilities = {name: Raw(raw) for name, raw in asked.capabilities.items()}
        self._envelope = envelope
        self._stream = stream
        self._nursery = nursery
        self._serving = serving
        self._unsaid: deque[bytes] = deque()
        self._quiet: trio.Event | None = None
        """Set once all was said; None while nobody says anything: most requests have nothing to say."""
        self._over = False
        self._waiting: dict[int, _Question] = {}
        self._asked = 0

    def notify(self, method: str, params: Raw) -> None:
        """Tell whoever asked; never blocks, and what finds no room is dropped and counted."""
        self._put(Notified(method, bytes(params)))

    def _put(self, message: Notified | Wanted) -> bool:
        if self._over or len(self._unsaid) >= BACKLOG:
            self._serving.dropped += 1
            return False
        self._unsaid.append(pack(message))
        if self._quiet is None:
            self._quiet = trio.Event()
            self._nursery.start_soon(self._say, self._quiet)
        return True

    async def _say(self, quiet: trio.Event) -> None:
        """Say what the work has to say, in order."""
        while self._unsaid:
            await self._stream.send(self._unsaid.popleft())
        self._quiet = None
        quiet.set()

    async def said_all(self) -> None:
        """The work is done: wait until all that it had to say is said; it says nothing more."""
        self._over = True
        if self._quiet is not None:
            await self._quiet.wait()

    async def request(self, method: str, params: Raw) -> Raw:
        """Ask whoever asked, at their node, and wait; the deadline stands still meanwhile."""
        if not self.capabilities:
            raise UnknownMethod(f"this caller cannot be asked {method!r}")
        if len(self._waiting) >= QUESTIONS:
            raise InternalError("too many questions at a time")
        self._asked += 1
        number, question = self._asked, _Question()
        self._waiting[number] = question
        self._envelope.stop_clock(trio.current_time())
        try:
            if not self._put(Wanted(number, method, bytes(params))):
                raise OutcomeUnknown("the caller's node takes no more questions")
            await question.answered.wait()
        finally:
            self._envelope.start_clock(trio.current_time())
            del self._waiting[number]
        assert question.given is not None
        if question.given.result is not None:
            return Raw(question.given.result)
        raise error_of(unpack(question.given.error or b"", Failed))

    def given(self, given: Given) -> None:
        """An answer has come. Raises WrongMessage for one that is none."""
        question = self._waiting.get(given.number)
        if question is None:
            return  # of a question that is waited for no more
        if given.result is not None:
            _check_json(given.result)
        else:
            error_of(unpack(given.error or b"", Failed))
        question.given = given
        question.answered.set()


class _Question:
    __slots__ = ("answered", "given")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.given: Given | None = None
