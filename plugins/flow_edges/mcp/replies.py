"""HTTP answers of both eras: one JSON object, or a stream of server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from flow_edges.mcp.exchange import Exchange
from flow_edges.mcp.guard import JSON
from flowcore.errors import CallError
from flowcore.http import Response, Send, Stream, encode_event
from flowcore.mcp import Id, encode_error, encode_result, error_for, modern_status

EVENTS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


def accepted() -> Response:
    """The answer to what wants none."""
    return Response(202)


_ALIVE: Final = b": alive\n\n"


def succeeded(request: Id, result: bytes) -> Response:
    """A result as one JSON object."""
    return Response(200, JSON, encode_result(request, result))


def failed(
    request: Id | None, error: CallError, *, modern: bool = True, status: int | None = None
) -> Response:
    """An error as one JSON object; without `status`, with that of its code in 2026-07-28."""
    wire = error_for(error, modern=modern)
    return Response(
        modern_status(wire["code"]) if status is None else status, JSON, encode_error(request, wire)
    )


async def answered(exchange: Exchange, *, modern: bool, keep_alive: float) -> Response | Stream:
    """The answer of a call that runs on its own: JSON if it has nothing to say before, else a stream.

    Cancelling this cancels the call, and so does the end of the stream before its answer.
    """
    try:
        frames = await exchange.take()
    except BaseException:
        exchange.abandon()
        raise
    if exchange.done and len(frames) <= 1:
        if not frames:
            return accepted()  # the client itself cancelled it and waits for nothing
        status = 200
        if modern and exchange.error is not None:
            status = modern_status(error_for(exchange.error, modern=True)["code"])
        return Response(status, JSON, frames[0])

    async def run(send: Send) -> None:
        await send(b"".join([encode_event(frame) for frame in frames]))
        while not exchange.done:
            await send_alive(send, exchange.take, keep_alive)

    return Stream(200, EVENTS, run, close=exchange.abandon)


async def send_alive(send: Send, take: Callable[[], Awaitable[list[bytes]]], every: float) -> bool:
    """Send what there is to send next, and a comment whenever nothing is for `every` seconds.

    Gives False once there is nothing any more.
    """
    while True:
        with trio.move_on_after(every):
            frames = await take()
            break
        await send(_ALIVE)
    if frames:
        await send(b"".join([encode_event(frame) for frame in frames]))
    return bool(frames)
