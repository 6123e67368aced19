"""Asking another node something that it tells in one piece."""

from __future__ import annotations

from typing import TypeVar

from flowcore.federation import unpack
from flowcore.swarm import Lane, Overlay

T = TypeVar("T")


async def ask(overlay: Overlay, node: str, service: str, kind: type[T]) -> T:
    """What a service of a node tells. Raises SwarmError, and WrongMessage for what is not of this kind."""
    stream = await overlay.open(node, service, b"", Lane.CONTROL, whole=True)
    async with stream:
        data = await stream.receive()
    return unpack(data or b"", kind)
