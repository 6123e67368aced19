"""A stream that passes through: chunks both ways, with back-pressure, and its end."""

from __future__ import annotations

import trio

from flowcore.errors import StreamBroken
from flowcore.swarm.interfaces import Stream


async def relay(one: Stream, other: Stream) -> None:
    """Pass on what comes over two streams to each other until both have ended, or either is broken.

    A chunk is taken when the one before it was passed on, so no more of a stream is held here than the credit
    of its two links allows. A reset, and a way that is lost, ends the other side at once, with its reason.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, one, other, nursery)
        nursery.start_soon(_watch, other, one, nursery)
        async with trio.open_nursery() as pumps:
            pumps.start_soon(_pump, one, other, nursery)
            await _pump(other, one, nursery)
        nursery.cancel_scope.cancel()


async def _pump(source: Stream, sink: Stream, nursery: trio.Nursery) -> None:
    try:
        while (chunk := await source.receive()) is not None:
            await sink.send(chunk)
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
