"""HTTP answers of both eras: one JSON object, or a stream of messages."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from flow_edges.mcp.exchange import Exchange
from flow_edges.mcp.guard import JSON
from flow_edges.mcp.streams import ALIVE, EVENTS, events, send_alive
from flowcore.errors import CallError, Overloaded, PermissionDenied, Unauthenticated
from flowcore.http import Response, Send, Stream
from flowcore.mcp import Id, encode_error, encode_result, error_for, modern_status

Carry = Callable[[Exchange, list[bytes]], Stream]
"""Makes the stream that answers with these messages and whatever an exchange brings after them."""


class Failure(Response, eq=False):
    """A refusal, with what it is for."""

    error: CallError | None = None


def accepted() -> Response:
    """The answer to what wants none."""
    return Response(202)


def withdrawn() -> Response:
    """The answer to a request that its client cancelled by a notification: it must be of one of two types,
    and nothing should be said any more, so that it is a stream on which nothing comes."""
    return Response(200, EVENTS)


def succeeded(request: Id, result: bytes) -> Response:
    """A result as one JSON object."""
    return Response(200, JSON, encode_result(request, result))


def failed(
    request: Id | None, error: CallError, *, modern: bool = True, status: int | None = None
) -> Response:
    """An error as one JSON object; without `status`, with the one that its era has for it."""
    wire = error_for(error, modern=modern)
    if status is None:
        status = _status_of(error, wire["code"], modern)
    return _failure(status, encode_error(request, wire), error)


def _status_of(error: CallError, code: int, modern: bool) -> int:
    """What HTTP itself has a word for is said by the status, too; else the protocol's version decides."""
    if isinstance(error, Unauthenticated | PermissionDenied | Overloaded):
        return error.http_status
    return modern_status(code) if modern else 200


def _failure(status: int, body: bytes, error: CallError) -> Failure:
    if error.retry_after is None:
        return Failure(status, JSON, body, error=error)
    wait = (b"retry-after", b"%d" % max(1, math.ceil(error.retry_after)))
    return Failure(status, (*JSON, wait), body, error=error)


async def answered(
    exchange: Exchange, *, modern: bool, keep_alive: float, carry: Carry | None = None
) -> Response | Stream:
    """The answer of a call that runs on its own: JSON if it has nothing to say before, else a stream, which
    also begins where there is nothing to say for long. `carry` makes it; without, it is of this answer only.

    Cancelling this cancels the call, and so does the end of such a stream before its answer.
    """
    frames: list[bytes] = []
    try:
        with trio.move_on_after(keep_alive):
            frames = await exchange.take()
    except BaseException:
        exchange.abandon()
        raise
    if exchange.done and len(frames) <= 1:
        if not frames:
            return withdrawn()
        error = exchange.error
        if error is None:
            return Response(200, JSON, frames[0])
        code = error_for(error, modern=modern)["code"]
        return _failure(_status_of(error, code, modern), frames[0], error)
    return _streamed(exchange, frames, keep_alive) if carry is None else carry(exchange, frames)


def _streamed(exchange: Exchange, frames: list[bytes], keep_alive: float) -> Stream:
    async def take() -> bytes:
        return events(await exchange.take())

    async def run(send: Send) -> None:
        await send(events(frames) or ALIVE)
        while not exchange.done:
            await send_alive(send, take, keep_alive)

    return Stream(200, EVENTS, run, close=exchange.abandon)
