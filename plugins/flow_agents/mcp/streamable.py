"""The wire over Streamable HTTP, in both eras: a POST for each request, answered by JSON or by events.

Sources: 2026-07-28 and 2025-11-25, basic/transports (Streamable HTTP).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final

import trio

from flow_agents.mcp.answers import content_type, refusal, response_in, session_is_unknown
from flow_agents.mcp.calls import Call
from flow_agents.mcp.errands import Errands
from flow_agents.mcp.events import EventStream
from flow_agents.mcp.phrasing import Phrasing
from flow_agents.mcp.wire import Hearing, SessionExpired
from flowcore.errors import AgentUnavailable, OutcomeUnknown, UpstreamFailure
from flowcore.http import BodyTooLarge, Client, ClientStream, ConnectFailed, HttpError
from flowcore.mcp import METHODS, Response, encode_notification, encode_value, headers

logger = logging.getLogger(__name__)

Headers = tuple[tuple[bytes, bytes], ...]

_POST: Final[Headers] = (
    (b"accept", b"application/json, text/event-stream"),
    (b"content-type", b"application/json"),
)
_GET: Final[Headers] = ((b"accept", b"text/event-stream"),)
_RESUMES: Final = 5
"""How often in a row a call's broken stream is taken up again without anything new."""
_PATIENCE: Final = 1.0
"""Seconds that the stream of notifications may take to open before calls are made without it."""
_FAREWELL: Final = 1.0
"""Seconds that the end of a session may take."""


class StreamableHttp:
    """One connection to an upstream at a URL. Made by `open_streamable`."""

    http = True

    def __init__(self, client: Client, url: str, own: Headers, limit: int) -> None:
        self.session: str | None = None
        self._client = client
        self._url = url
        self._own = own
        self._limit = limit
        self._phrasing: Phrasing
        self._hearing: Hearing
        self._errands: Errands
        self._headers: Headers = own
        """Headers of every request, but for those of its method."""
        self._post: Headers = own
        self._agreed = trio.Event()
        self._renewed = trio.Event()
        """Set, and replaced, when there is another session."""
        self._settled = trio.Event()
        """Set when the stream of this session that belongs to no call is open, or is not to be had."""

    def attach(self, hearing: Hearing, errands: Errands) -> None:
        self._hearing = hearing
        self._errands = errands

    def speak(self, phrasing: Phrasing) -> None:
        self._phrasing = phrasing
        self._write_headers()

    def agreed(self) -> None:
        self._agreed.set()

    async def settled(self) -> None:
        if not self._phrasing.modern:
            settled = self._settled
            with trio.move_on_after(_PATIENCE):
                await settled.wait()
            settled.set()  # if it is open later than that, something may have been missed

    def _write_headers(self) -> None:
        version: Headers = ((headers.VERSION, self._phrasing.version.encode()),)
        session: Headers = ()
        if self.session is not None and not self._phrasing.modern:
            session = ((headers.SESSION, self.session.encode()),)
        self._headers = (*self._own, *version, *session)
        self._post = (*self._headers, *_POST)

    # ---- requests

    async def exchange(self, call: Call) -> Response:
        session = self.session
        stream = EventStream(self._hearing, call, self._limit)
        try:
            async with self._client.stream(
                "POST",
                self._url,
                headers=self._headers_of(call),
                body=self._phrasing.request(call),
            ) as answer:
                response = await self._read(answer, stream, session)
            # outside the block: the broken connection is let go before the stream is taken up on another
            return response if response is not None else await self._take_up(stream)
        except ConnectFailed as error:
            raise AgentUnavailable(f"the upstream cannot be reached: {error}") from error
        except BodyTooLarge as error:
            raise UpstreamFailure(f"the upstream's answer is too large: {error}") from error
        except HttpError as error:
            raise OutcomeUnknown(f"the upstream was lost before it answered: {error}") from error
        except trio.Cancelled:
            self._give_up(call)
            raise

    def _headers_of(self, call: Call) -> Headers:
        if self._phrasing.modern:
            subject = call.envelope.name if call.envelope is not None else ""
            return (*self._post, *_mirrored(call.method, subject), *call.headers)
        if call.method == "initialize":
            # a server of both eras may ask for it in every POST (2026-07-28, standard headers)
            return (*self._own, *_POST, *_mirrored(call.method, ""))
        return self._post

    def _give_up(self, call: Call) -> None:
        """Tell that nobody waits any more. In 2026-07-28 the closed stream has said so already."""
        if not self._phrasing.modern and call.method != "initialize":
            params = {"requestId": call.number, "reason": "the caller is gone"}
            message = encode_notification("notifications/cancelled", params)
            self._errands.run(self._tell_within, message, _FAREWELL)

    async def _read(
        self, answer: ClientStream, stream: EventStream, session: str | None
    ) -> Response | None:
        """The response in an answer; None if it is a stream that ended without one."""
        status, call = answer.status, stream.call
        assert call is not None
        if status == 200 and call.method == "initialize":
            self._take_session(answer)
        kind = content_type(answer)
        if status == 200 and kind == b"text/event-stream":
            return await stream.hear(answer)
        body = await self._body(answer)
        response = response_in(body, call) if kind == b"application/json" else None
        if response is None:
            if status == 404 and self._in_session(session, call):
                raise SessionExpired(session or "")
            raise refusal(answer, kind, body)
        unknown = status == 404 or (status == 400 and session_is_unknown(response))
        if unknown and self._in_session(session, call):
            raise SessionExpired(session or "")
        if status != 200 and response.error is None:
            raise refusal(answer, kind, body)
        return response

    def _in_session(self, session: str | None, call: Call) -> bool:
        return session is not None and not self._phrasing.modern and call.method != "initialize"

    async def _body(self, answer: ClientStream) -> bytes:
        first = await answer.receive()
        parts = [first]
        size = len(first)
        while piece := await answer.receive():
            size += len(piece)
            if size > self._limit:
                raise BodyTooLarge(f"it has more than {self._limit:,} bytes", sent=True)
            parts.append(piece)
        return first if len(parts) == 1 else b"".join(parts)

    def _take_session(self, answer: ClientStream) -> None:
        raw = answer.headers.get(headers.SESSION)
        if raw is not None and (not raw or not all(0x21 <= byte <= 0x7E for byte in raw)):
            raise UpstreamFailure("the upstream's session id is not of visible ASCII")
        self.session = None if raw is None else raw.decode("ascii")
        self._write_headers()
        self._renewed.set()
        self._renewed = trio.Event()
        self._settled = trio.Event()

    async def _take_up(self, stream: EventStream) -> Response:
        """The response on a stream that broke off, taken up where it ended (up to 2025-11-25)."""
        tries = 0
        while stream.last_id and not self._phrasing.modern and tries < _RESUMES:
            last = stream.last_id
            tries += 1
            await trio.sleep(stream.wait(tries))
            own = (*self._headers, *_GET, (b"last-event-id", last.encode()))
            try:
                async with self._client.stream("GET", self._url, headers=own) as answer:
                    if answer.status != 200 or content_type(answer) != b"text/event-stream":
                        break
                    response = await stream.hear(answer)
            except HttpError as error:
                logger.debug("a stream is not taken up: %s", error)
                continue
            if response is not None:
                return response
            if stream.last_id != last:
                tries = 0
        raise OutcomeUnknown("the upstream's stream ended before the answer")

    # ---- the stream that belongs to no call

    async def run(self) -> None:
        """Hear what the upstream says of itself (GET, versions with a handshake), where it offers that."""
        await self._agreed.wait()
        while not self._phrasing.modern:
            renewed = self._renewed
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                await renewed.wait()
                nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    async def _listen(self) -> None:
        """Hear the stream of one session; return if there is none."""
        settled = self._settled
        stream = EventStream(self._hearing, None, self._limit)
        tries = 0
        while True:
            own = (*self._headers, *_GET)
            if stream.last_id:
                own = (*own, (b"last-event-id", stream.last_id.encode()))
            try:
                async with self._client.stream("GET", self._url, headers=own) as answer:
                    status = answer.status
                    if status == 200 and content_type(answer) == b"text/event-stream":
                        tries = 0
                        if settled.is_set() and not stream.last_id:
                            self._hearing.missed()
                        settled.set()
                        await stream.hear(answer)
            except HttpError as error:
                logger.debug("no stream of notifications: %s", error)
            else:
                settled.set()
                if status != 200 and status < 500 and status not in (404, 408, 429):
                    return  # such as 405: it is not offered
            tries += 1
            await trio.sleep(stream.wait(tries))

    # ---- what has no answer

    async def tell(self, message: bytes) -> None:
        try:
            answer = await self._client.request("POST", self._url, headers=self._post, body=message)
        except ConnectFailed as error:
            raise AgentUnavailable(f"the upstream cannot be reached: {error}") from error
        except HttpError as error:
            raise OutcomeUnknown(f"the upstream was lost: {error}") from error
        if answer.status >= 300:
            raise UpstreamFailure(f"the upstream refuses a message: HTTP {answer.status}")

    async def _tell_within(self, message: bytes, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.tell(message)

    async def leave(self) -> None:
        """End the session. Takes a second at most, whatever the upstream does."""
        if self.session is None or self._phrasing.modern:
            return
        with trio.move_on_after(_FAREWELL):
            try:
                await self._client.request("DELETE", self._url, headers=self._headers)
            except HttpError as error:
                logger.debug("the session was not ended: %s", error)


@lru_cache(maxsize=4096)
def _mirrored(method: str, subject: str) -> Headers:
    """The headers that mirror a request's method and what it names (2026-07-28)."""
    known = METHODS.get(method)
    mirrored: Headers = ((headers.METHOD, method.encode()),)
    if known is not None and known.subject is not None:
        return (*mirrored, (headers.NAME, encode_value(subject).encode()))
    return mirrored


@asynccontextmanager
async def open_streamable(
    client: Client, url: str, own: Sequence[tuple[bytes, bytes]], limit: int
) -> AsyncGenerator[StreamableHttp]:
    """A wire to the endpoint at a URL. `own` are headers of every request; `limit` bounds a message."""
    wire = StreamableHttp(client, url, tuple(own), limit)
    try:
        yield wire
    finally:
        with trio.CancelScope(shield=True):
            await wire.leave()
