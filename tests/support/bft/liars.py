"""Engines that lie: what an honest engine hands out, changed before it is sent."""

from __future__ import annotations

import msgspec

from flow_consensus.bft import (
    NIL,
    Engine,
    Kind,
    Message,
    Ready,
    block_digest,
    decode_block,
    encode_block,
)
from flow_consensus.bft.messages import Chunk, Proposal, Vote


class Equivocator(Engine):
    """Proposes one block to some and another one to the others; votes for one thing here, another there."""

    def ready(self) -> Ready:
        ready = super().ready()
        names = self.epoch.voters
        ready.messages = [
            (to, self._other(message) if names.index(to) % 2 else message)
            if to in names
            else (to, message)
            for to, message in ready.messages
        ]
        return ready

    def _other(self, message: Message) -> Message:
        if isinstance(message, Proposal) and message.signed.signer == self.name:
            block = decode_block(message.block)
            if len(block.requests) < 2:
                return message
            less = encode_block(msgspec.structs.replace(block, requests=block.requests[:1]))
            signed = self._signed(
                Kind.PROPOSAL, block.height, message.signed.view, block_digest(less)
            )
            return Proposal(signed, less, None)
        if isinstance(message, Vote) and message.signed.signer == self.name:
            said = message.signed
            if said.kind in (Kind.PREVOTE, Kind.PRECOMMIT) and said.digest != NIL:
                if said.height != self.height:
                    return message
                return Vote(self._signed(Kind(said.kind), said.height, said.view, NIL))
        return message


class Censor(Engine):
    """Leads, and leaves out what one node asks for."""

    victim = "d"

    def _make_block(self):  # type: ignore[no-untyped-def]
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


class Corrupter(Engine):
    """Is honest until somebody needs its state: then it sends another one. (The driver gives the pieces.)"""


def corrupted(chunk: Chunk) -> Chunk:
    """A piece of a snapshot with one byte changed."""
    data = bytearray(chunk.data)
    data[len(data) // 2] ^= 1
    return Chunk(chunk.height, chunk.number, bytes(data), chunk.last)
