"""One connection of a client: one task reads a request and answers it, by turns.

An answer that takes longer than a sweep gets company: a lookout reads on, so that a client that goes away
is noticed and its request cancelled. A client that only stops sending (half-close) counts as gone then: it
cannot be told from one that died. Deadlines are plain numbers that the server's sweep looks at: no timer and
no cancel scope per request.
"""

from __future__ import annotations

import logging

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
from flowcore.http.incoming import BETWEEN, BODY, HEAD, Incoming, RequestReader
from flowcore.http.messages import Hopeless, Request, Response, Stream, Tls
from flowcore.http.room import Mark
from flowcore.http.state import SWEEP, ServerState
from flowcore.http.wakeup import Wakeup
from flowcore.http.wire import Wire

logger = logging.getLogger(__name__)

LINGER = 1.0
"""Seconds that a client has to take the last answer and close, before the server does."""
AHEAD = 65536
"""Bytes that the lookout reads ahead of their turn; with more unread, the end is looked for otherwise."""

SLOW_HEAD = 1.0
"""Seconds after which a head that is not whole, or has not begun, is slow: its connection goes first."""
SLOW_BODY = 5.0
"""The same for a body, and for an answer that is not read."""
_SLOW, _IDLE, _NEW = range(3)

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
        self.client = client
        """The other side's address, as text."""
        self._tls = tls
        self._state = state
        self._limits = state.limits
        self._reader = RequestReader(state.limits)
        self._scope = trio.CancelScope()
        self._turns: trio.CancelScope | None = None  # in which requests are read and answered
        self._nursery: trio.Nursery
        self._busy = False  # a request is being answered
        self._crowd = False  # others were answered since the last request of this connection
        self._ending = False  # no further request is answered
        self._last = False  # the answer that is being sent, or was, is the last
        self._until_close = False  # and ends with the connection
        self._overdue: BadMessage | None = None
        self._polite = False
        self._served = False
        self._looking_out = False
        self._ahead = b""
        self._ended = False  # the lookout has seen the end
        self._wakeup = Wakeup()  # the lookout is back
        self._phase = BETWEEN
        self._since = trio.current_time()  # when the phase began
        self._held = 0

    async def serve(self) -> None:
        """Serve requests until either side ends the connection."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery, self._turns = nursery, nursery.cancel_scope
                    try:
                        await self._take_turns()
                    finally:
                        self._turns = None  # from here on no lookout is sent
                    nursery.cancel_scope.cancel()
                await self._take_leave()
        finally:
            self._state.held -= self._held
            with trio.move_on_after(LINGER, shield=True):
                await self._wire.close(polite=self._polite)

    def nudge(self) -> None:
        """The server is draining: end, unless a request has begun to come."""
        if not self._busy and not self._ahead and self._reader.phase is BETWEEN:
            self._end()

    # ---- when the server is full

    def dispensable(self) -> Mark | None:
        """See `Guest`: first whoever is slow, then whoever asks nothing, then whoever has just begun to."""
        now, blocked = trio.current_time(), self._wire.blocked_since
        if self._busy:
            return (_SLOW, blocked) if now - blocked >= SLOW_BODY else None
        if self._phase is BETWEEN and self._served:
            return (_IDLE, self._since)
        slow = SLOW_BODY if self._phase is BODY else SLOW_HEAD
        return (_SLOW if now - self._since >= slow else _NEW, self._since)

    def evict(self) -> bool:
        """End at once, politely if nothing was asked; False if something has come and is not read yet, unless
        it is one more drop of what has been coming for too long."""
        if not self._busy and not self._dripping() and self._wire.stale():
            return False
        if self._phase is BETWEEN and not self._busy:
            self._end()
        else:
            self._scope.cancel()
        return True

    def _dripping(self) -> bool:
        mark = self.dispensable()
        return self._phase is not BETWEEN and mark is not None and mark[0] == _SLOW

    # ---- deadlines, looked at by the sweep

    def excuse(self, late: float) -> None:
        """So many seconds nothing was read here: that time is not the client's."""
        self._since += late
        self._wire.blocked_since += late

    def look(self, now: float) -> None:
        """End what is overdue, and send a lookout where an answer takes long."""
        limits, waited = self._limits, now - self._since
        if now - self._wire.blocked_since >= limits.write_timeout:
            self._state.timeouts += 1
            self._scope.cancel()
        elif self._busy:
            if len(self._ahead) < AHEAD:
                self._look_out()
            elif self._wire.hung_up():
                self._gone()
        elif self._phase is BETWEEN:
            # after an answer the phase began at most a sweep later than noted
            allowed = limits.idle_timeout + SWEEP if self._served else limits.head_timeout
            if waited >= allowed:
                self._scope.cancel()
        elif self._phase is HEAD:
            if waited >= limits.head_timeout:
                self._expire("head")
        elif waited >= limits.body_timeout:
            self._expire("body")

    def _expire(self, part: str) -> None:
        if not self._ending:
            self._overdue = BadMessage(408, f"the request's {part} took too long")
            self._end()

    def _end(self) -> None:
        """Stop reading, and take leave."""
        self._ending = self._polite = True
        if self._turns is not None:
            self._turns.cancel()

    def _gone(self) -> None:
        """The client is."""
        if self._busy and not self._scope.cancel_called:
            self._state.disconnects += 1
        self._scope.cancel()

    # ---- reading

    async def _take_turns(self) -> None:
        """Answer request after request."""
        state, ahead = self._state, False
        try:
            while not self._last:
                incoming = self._next()
                if incoming is None:
                    if not await self._read():
                        return
                    ahead = False
                    continue
                self._busy = True
                self._wire.pace.end()
                if ahead:  # it was sent before the last was answered: the others come first
                    await trio.lowlevel.checkpoint()
                ahead = True
                self._crowd, state.latest = state.latest is not self, self
                await self._answer(incoming.head, incoming.body)
                self._busy = False
                state.held -= self._held
                self._held = 0
                self._phase, self._since = BETWEEN, state.now
                self._wire.pace.end()
                self._served = True
        except BadMessage as error:
            await self._send_refusal(error)
        else:
            self._polite = True

    def _next(self) -> Incoming | None:
        """The next request, if it has come. Raises BadMessage."""
        reader = self._reader
        incoming = reader.next()
        held = reader.held if incoming is None else len(incoming.body)
        if held != self._held:
            more = held - self._held
            if more > 0 and self._state.held + more > self._limits.bodies:
                raise BadMessage(503, "too many bytes of requests are held already")
            self._held = held
            self._state.held += more
        return incoming

    async def _read(self) -> bool:
        """Take in what comes next; False if nothing will, or nothing may."""
        reader = self._reader
        data: bytes | memoryview
        if self._ahead:
            data, self._ahead = self._ahead, b""
        elif self._ended:
            return self._at_end()
        else:
            phase = reader.phase
            if phase is not self._phase:
                self._phase, self._since = phase, trio.current_time()
                self._wire.pace.begin()
            if phase is BODY and reader.take_expectation():
                await self._send(CONTINUE)
            if phase is BETWEEN and self._state.draining.is_set():
                return False
            if self._looking_out:
                await self._wakeup.wait()
                return not self._ending
            try:
                if phase is BODY:
                    came = await self._wire.receive_into(self._state.inlet)
                    data = self._state.inlet[:came]
                else:
                    data = await self._wire.receive(soon=self._crowd)
            except trio.BrokenResourceError:
                return False
            self._state.bytes_in += len(data)
            if self._ending:
                return False
            if not data:
                return self._at_end()
        reader.feed(data)
        return True

    def _at_end(self) -> bool:
        """Nothing more comes. Raises BadMessage within a request: who only stopped sending hears it."""
        if self._reader.phase is not BETWEEN:
            raise BadMessage(400, "the request ended before it was whole")
        return False

    def _look_out(self) -> None:
        """See to it that somebody notices if the client goes away."""
        if self._turns is not None and not self._looking_out and not self._ended:
            self._looking_out = True
            self._nursery.start_soon(self._read_ahead)

    async def _read_ahead(self) -> None:
        """Read while a request is being answered; its turn comes later."""
        self._wire.pace.begin()
        try:
            while self._busy and not self._ended and len(self._ahead) < AHEAD:
                data = await self._wire.receive()
                self._state.bytes_in += len(data)
                self._ahead += data
                self._ended = not data
        except trio.BrokenResourceError:
            self._ended = True
        self._looking_out = False
        if not self._busy:
            self._wakeup.set()
        elif self._ended:
            self._gone()

    # ---- answering

    async def _take_leave(self) -> None:
        """Send what is still to be said, and let the client take it."""
        if self._overdue is not None:
            self._state.timeouts += 1
            await self._send_refusal(self._overdue)
        if self._last and (self._wire.send_end() or not self._until_close):
            await self._linger()

    async def _send_refusal(self, error: BadMessage) -> None:
        self._state.refuse(error.status)
        headers = _LATER if error.status == 503 else _TEXT
        response = Response(error.status, headers, f"{error}\n".encode())
        self._last = True
        await self._send(encode_response(response, connection=CLOSE, head_only=False))

    async def _linger(self) -> None:
        """Let the client take the last answer: closing while it still sends would reset that away."""
        discarded = 0
        self._wire.pace.begin()
        try:
            with trio.move_on_after(LINGER):
                while not self._ended and discarded <= self._limits.body:
                    came = await self._wire.receive_into(self._state.inlet)
                    self._state.bytes_in += came
                    discarded += came
                    self._ended = not came
        except trio.BrokenResourceError:
            self._ended = True  # an end like any other

    async def _answer(self, head: RequestHead, body: bytes) -> None:
        state = self._state
        state.requests += 1
        request = Request(
            head.method,
            head.target,
            head.headers,
            body,
            self.client,
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
        self._look_out()
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
        except Hopeless:
            self._scope.cancel()
            await trio.lowlevel.checkpoint()
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
