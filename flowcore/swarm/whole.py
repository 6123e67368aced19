"""Something as a whole over a stream: in chunks that fit, up to the end of its sender's side."""

from __future__ import annotations

from flowcore.errors import StreamBroken
from flowcore.swarm.interfaces import MOST_CHUNK, Stream

AROUND = 4096
"""Bytes of a chunk that are kept for what is around a piece."""


def pieces(data: bytes) -> list[bytes]:
    """What is to be sent, in pieces that fit into chunks with something around them; at least one."""
    size = MOST_CHUNK - AROUND
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


async def send_whole(stream: Stream, data: bytes) -> None:
    """Send it, and nothing more. Raises StreamBroken."""
    for piece in pieces(data):
        await stream.send(piece)
    await stream.finish()


async def receive_whole(stream: Stream, most: int) -> bytes:
    """All that the other side sends. Raises StreamBroken, also for more than `most` bytes."""
    got: list[bytes] = []
    size = 0
    while (chunk := await stream.receive()) is not None:
        size += len(chunk)
        if size > most:
            reason = f"more than {most} bytes"
            stream.reset(reason)
            raise StreamBroken(reason)
        got.append(chunk)
    return b"".join(got)
