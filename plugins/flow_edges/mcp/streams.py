"""Answers that are streams of server-sent events: with signs of life, and in sessions with ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

from flow_edges.mcp.channel import Channel
from flowcore.http import Send, Stream, encode_event

EVENTS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
ALIVE: Final = b": alive\n\n"
"""A comment: it says nothing, but that the stream is there."""


def events(frames: Iterable[bytes]) -> bytes:
    """Messages as server-sent events that have no ids."""
    return b"".join([encode_event(frame) for frame in frames])


async def send_alive(send: Send, take: Callable[[], Awaitable[bytes]], every: float) -> bool:
    """Send what there is to send next, and a comment whenever nothing is for `every` seconds.

    Gives False once there is nothing any more.
    """
    while True:
        with trio.move_on_after(every):
            data = await take()
            break
        await send(ALIVE)
    if data:
        await send(data)
    return bool(data)


def carried(
    channel: Channel,
    after: int,
    *,
    opening: bytes,
    keep_alive: float,
    within: float,
    closed: Callable[[], None] | None = None,
) -> Stream:
    """The answer that carries a stream of a session on from the message after this number.

    Its events have ids. Where it breaks off, another connection has `within` seconds to go on; `closed`
    is called when it is over.
    """
    scope = trio.CancelScope()
    channel.attach(scope)

    def close() -> None:
        channel.detach(scope, within)
        if closed is not None:
            closed()

    async def run(send: Send) -> None:
        position = after

        async def take() -> bytes:
            nonlocal position
            channel.sent(position)
            first, frames = await channel.after(position)
            position = first + len(frames) - 1
            return b"".join(
                [
                    encode_event(frame, id_=f"{channel.name}-{number}")
                    for number, frame in enumerate(frames, start=first)
                ]
            )

        with scope:
            await send(opening)
            while await send_alive(send, take, keep_alive):
                pass

    return Stream(200, EVENTS, run, close=close)


def primer(channel: Channel, after: int, retry: float) -> bytes:
    """The event that gives a client, before anything is said, an id to come back with and when to do so
    (2025-11-25, basic/transports)."""
    return encode_event(b"", id_=f"{channel.name}-{after}", retry=round(retry * 1000))


def place(last_event_id: str) -> tuple[str, int] | None:
    """The stream and the number in an event's id; None if it is none of ours."""
    name, dash, number = last_event_id.rpartition("-")
    if not dash or not (number.isascii() and number.isdecimal() and len(number) < 16):
        return None
    return name, int(number)
