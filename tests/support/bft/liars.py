"""Engines that lie: what an honest engine hands out, changed before it is sent."""

from __future__ import annotations

import msgspec

from flow_consensus.bft import Block, Engine, Ready
from flow_consensus.bft.messages import Chunk
from support.bft.lying_plugin import Equivocator


class Censor(Engine):
    """Leads, and leaves out what one node asks for."""

    victim = "d"

    def _make_block(self) -> Block | None:
        made = super()._make_block()
        if made is None:
            return None
        kept = [one for one in made.requests if one.origin != self.victim]
        return msgspec.structs.replace(made, requests=kept) if kept else None


class Silent(Engine):
    """Hears all, and says nothing."""

    def ready(self) -> Ready:
        ready = super().ready()
        ready.messages = []
        return ready


def corrupted(chunk: Chunk) -> Chunk:
    """A piece of a snapshot with one byte changed."""
    data = bytearray(chunk.data)
    data[len(data) // 2] ^= 1
    return Chunk(chunk.height, chunk.number, bytes(data), chunk.last)


__all__ = ["Censor", "Equivocator", "Silent", "corrupted"]
