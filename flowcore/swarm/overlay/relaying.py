"""A stream that passes through: chunks both ways, with back-pressure, and its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from flowcore.errors import StreamBroken
from flowcore.swarm.interfaces import Stream


async def relay(one: Stream, other: Stream, *, doubt: Callable[[], None], after: float) -> None:
    """Pass on what comes over two streams to each other until both have ended, or either is broken.

    `doubt` is called if nothing at all has come over the other one `after` so many seconds.

    A chunk is taken when the one before it was passed on, so no more of a stream is held here than the credit
    of its two links allows. A reset, and a way that is lost, ends the other side at once, with its reason.
    """

    async def first() -> bytes | None:
        with trio.move_on_after(after):
            return await other.receive()
        doubt()
        return await other.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, one, other, nursery)
        nursery.start_soon(_watch, other, one, nursery)
        async with trio.open_nursery() as pumps:
            pumps.start_soon(_pump, one, other, nursery)
            await _pump(other, one, nursery, first)
        nursery.cancel_scope.cancel()


async def _pump(
    source: Stream,
    sink: Stream,
    nursery: trio.Nursery,
    first: Callable[[], Awaitable[bytes | None]] | None = None,
) -> None:
    receive = first or source.receive
    try:
        while (chunk := await receive()) is not None:
            await sink.send(chunk)
            receive = source.receive
        await sink.finish()
    except StreamBroken as error:
        _end(source, sink, str(error), nursery)


async def _watch(stream: Stream, other: Stream, nursery: trio.Nursery) -> None:
    """See that a stream is broken, also where nobody reads it, for the other one takes nothing."""
    await stream.broken.wait()
    await trio.lowlevel.checkpoint()  # whoever reads it hears the reason, and is first
    reason = "its way is lost"
    try:
        await stream.receive()
    except StreamBroken as error:
        reason = str(error)
    except trio.BusyResourceError:
        return  # who reads it is told
    _end(stream, other, reason, nursery)


def _end(one: Stream, other: Stream, reason: str, nursery: trio.Nursery) -> None:
    one.reset(reason)
    other.reset(reason)
    nursery.cancel_scope.cancel()
