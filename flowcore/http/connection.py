"""One connection of a client: a task that reads without end, and a task that answers one request at a time.

The reader never stops, so that a client that goes away is noticed while its request is being worked on, and
cancels it. A client that only stops sending (half-close) counts as gone: it cannot be told from one that
died. Deadlines are plain numbers that the server's sweep looks at: no timer and no cancel scope per request.
"""

from __future__ import annotations

import logging
from collections import deque

import trio

from flowcore.http.encoding import (
    CLOSE,
    CONTINUE,
    KEEP_ALIVE,
    LAST_CHUNK,
    encode_chunk,
    encode_response,
    encode_stream_head,
)
from flowcore.http.fields import BadMessage
from flowcore.http.head import RequestHead
from flowcore.http.incoming import Incoming, Phase, RequestReader
from flowcore.http.messages import Request, Response, Stream, Tls
from flowcore.http.state import SWEEP, ServerState
from flowcore.http.wakeup import Wakeup
from flowcore.http.wire import Wire

logger = logging.getLogger(__name__)

LINGER = 1.0
"""Seconds that a client has to take the last answer and close, before the server does."""

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_LATER = (*_TEXT, (b"retry-after", b"1"))
_FAILED = Response(500, _TEXT, b"internal error\n")
_BUSY = Response(503, _LATER, b"too many streams\n")


class Connection:
    """One client's connection, from its first byte to its end."""

    def __init__(
        self, number: int, wire: Wire, client: str, tls: Tls | None, state: ServerState
    ) -> None:
        self._number = number
        self._wire = wire
        self._client = client
        self._tls = tls
        self._state = state
        self._limits = state.limits
        self._reader = RequestReader(state.limits)
        self._scope = trio.CancelScope()
        self._turn: deque[Incoming | BadMessage] = deque()
        self._wakeup = Wakeup()  # something to answer, or to look at
        self._room = Wakeup()  # place for one more request
        self._crowded = False  # the reader waits for it
        self._busy = False
        self._served = False
        self._last = False
        self._refused = False
        self._lingering = False
        self._until_close = False  # whether the last answer ends with the connection
        self._phase = Phase.BETWEEN
        self._since = trio.current_time()  # when the phase began
        self._held = 0
        self._held_of_next = 0

    async def serve(self) -> None:
        """Serve requests until either side ends the connection."""
        polite = False
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    await self._answer_all()
                    polite = True
                    if self._last:
                        await self._linger()
                    nursery.cancel_scope.cancel()
        finally:
            self._state.held -= self._held
            with trio.move_on_after(LINGER, shield=True):
                await self._wire.close(polite=polite)

    def nudge(self) -> None:
        """Look again whether there is anything to do: the server is draining."""
        self._wakeup.set()

    # ---- deadlines, looked at by the sweep

    def look(self, now: float) -> None:
        """End what is overdue."""
        limits, waited = self._limits, now - self._since
        if now - self._wire.blocked_since >= limits.write_timeout:
            self._expire()
        elif self._lingering:
            if waited >= LINGER:
                self._scope.cancel()
        elif self._busy or self._turn:
            if self._crowded and self._wire.hung_up():
                self._gone()
        elif self._phase is Phase.BETWEEN:
            # after an answer the phase began at most a sweep later than noted
            allowed = limits.idle_timeout + SWEEP if self._served else limits.head_timeout
            if waited >= allowed:
                self._scope.cancel()
        elif self._phase is Phase.HEAD:
            if waited >= limits.head_timeout:
                self._refuse(BadMessage(408, "the request's head took too long"))
        elif waited >= limits.body_timeout:
            self._refuse(BadMessage(408, "the request's body took too long"))

    def _expire(self) -> None:
        self._state.timeouts += 1
        self._scope.cancel()

    # ---- reading

    async def _read(self) -> None:
        state, wire, reader = self._state, self._wire, self._reader
        discarded = 0
        try:
            while data := await wire.receive():
                state.bytes_in += len(data)
                if self._refused or self._lingering:
                    discarded += len(data)
                    if discarded > self._limits.body:
                        break
                    continue
                try:
                    reader.feed(data)
                    while (incoming := reader.next()) is not None:
                        await self._take(incoming)
                    if reader.phase is not Phase.BETWEEN:
                        self._take_part()
                except BadMessage as error:
                    self._refuse(error)
        except trio.BrokenResourceError:
            pass  # an end like any other: whoever is being answered is gone
        self._gone()

    async def _take(self, incoming: Incoming) -> None:
        if self._lingering:
            return
        self._hold(len(incoming.body) - self._held_of_next)
        self._held_of_next = 0
        self._phase = Phase.BETWEEN
        self._turn.append(incoming)
        self._wakeup.set()
        while len(self._turn) >= self._limits.pipeline or (
            self._turn and self._held > self._limits.body
        ):
            self._crowded = True
            await self._room.wait()
            self._crowded = False

    def _take_part(self) -> None:
        """More is to come of a request that has begun."""
        held = self._reader.held
        self._hold(held - self._held_of_next)
        self._held_of_next = held
        phase = self._reader.phase
        if phase is not self._phase:
            self._phase, self._since = phase, trio.current_time()
            self._wakeup.set()  # the client may wait to be told to go on

    def _hold(self, size: int) -> None:
        if size > 0 and self._state.held + size > self._limits.bodies:
            raise BadMessage(503, "too many bytes of requests are held already")
        self._held += size
        self._state.held += size

    def _refuse(self, error: BadMessage) -> None:
        """Answer with a refusal when its turn comes; what follows on this connection is not believed."""
        self._refused = True
        self._state.timeouts += error.status == 408
        self._turn.append(error)
        self._wakeup.set()

    def _gone(self) -> None:
        if (self._busy or self._turn) and not self._scope.cancel_called:
            self._state.disconnects += 1
        self._scope.cancel()

    # ---- answering

    async def _answer_all(self) -> None:
        state, turn = self._state, self._turn
        while not self._last:
            if not turn:
                self._busy = False
                if self._reader.take_expectation():
                    await self._send(CONTINUE)
                if state.draining.is_set() and self._reader.phase is Phase.BETWEEN:
                    return
                await self._wakeup.wait()
                continue
            self._busy = True
            incoming = turn.popleft()
            if self._crowded:
                self._room.set()
            if isinstance(incoming, BadMessage):
                await self._send_refusal(incoming)
                return
            await self._answer(incoming.head, incoming.body)
            size = len(incoming.body)
            self._held -= size
            state.held -= size
            self._since = state.now if self._phase is Phase.BETWEEN else trio.current_time()
            self._served = True

    async def _send_refusal(self, error: BadMessage) -> None:
        self._state.refuse(error.status)
        headers = _LATER if error.status == 503 else _TEXT
        response = Response(error.status, headers, f"{error}\n".encode())
        self._last = True
        await self._send(encode_response(response, connection=CLOSE, head_only=False))

    async def _linger(self) -> None:
        """Let the client take the last answer: closing while it still sends would reset that away."""
        if not self._wire.send_end() and self._until_close:
            return
        self._busy = False
        self._since = trio.current_time()
        self._lingering = True
        self._turn.clear()
        self._room.set()
        await (
            trio.sleep_forever()
        )  # until the reader sees the end, or the sweep has waited long enough

    async def _answer(self, head: RequestHead, body: bytes) -> None:
        state = self._state
        state.requests += 1
        request = Request(
            head.method,
            head.target,
            head.headers,
            body,
            self._client,
            self._number,
            state.draining,
            self._tls,
            "1.1" if head.minor else "1.0",
        )
        try:
            answer = await state.handler(request)
        except Exception:
            answer = self._failed(head)
        if isinstance(answer, Stream):
            await self._stream(head, answer)
        else:
            await self._respond(head, answer)

    def _failed(self, head: RequestHead) -> Response:
        """The handler's fault: one answer without its inside, and everybody else goes on."""
        logger.exception("the handler failed on %s %s", head.method, head.target[:200])
        self._state.failures += 1
        return _FAILED

    async def _respond(self, head: RequestHead, answer: Response) -> None:
        head_only = head.method == "HEAD"
        try:
            connection = self._connection(head, answer.close)
            data = encode_response(answer, connection=connection, head_only=head_only)
        except Exception:
            failed = self._failed(head)
            connection = self._connection(head, close=False)
            data = encode_response(failed, connection=connection, head_only=head_only)
        await self._send(data)

    def _connection(self, head: RequestHead, close: bool) -> bytes:
        """The Connection header of an answer; notes whether it is the last."""
        if close or not head.keep_alive or self._state.draining.is_set():
            self._last = True
            return CLOSE
        return b"" if head.minor else KEEP_ALIVE

    async def _stream(self, head: RequestHead, answer: Stream) -> None:
        state = self._state
        state.streams += 1
        try:
            if state.streams > self._limits.streams:
                state.refuse(503)
                await self._respond(head, _BUSY)
            else:
                await self._send_stream(head, answer)
        finally:
            state.streams -= 1
            if answer.close is not None:
                answer.close()

    async def _send_stream(self, head: RequestHead, answer: Stream) -> None:
        chunked = head.minor == 1
        self._until_close = not chunked
        try:
            connection = self._connection(head, close=not chunked)
            data = encode_stream_head(answer, connection=connection, chunked=chunked)
        except Exception:
            await self._respond(head, self._failed(head))
            return
        await self._send(data)
        if head.method == "HEAD":
            return

        async def send(data: bytes) -> None:
            if data:
                await self._send(encode_chunk(data) if chunked else data)
            await trio.lowlevel.checkpoint()

        try:
            await answer.run(send)
        except Exception:
            self._failed(head)
            self._scope.cancel()  # without the last chunk, so that the client sees that it is cut
            await trio.lowlevel.checkpoint()
        if chunked:
            await self._send(LAST_CHUNK)

    async def _send(self, data: bytes) -> None:
        self._state.bytes_out += len(data)
        try:
            await self._wire.send(data)
        except trio.BrokenResourceError:
            self._gone()
            await trio.lowlevel.checkpoint()
