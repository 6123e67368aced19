"""Who lies about states: those that others take in, and those that are certified."""

from __future__ import annotations

from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.server import state_digest
from support.bft_world.strategies.strategy import Out, Strategy, junk, own
from support.simulation.machine import Machine


class StateCorrupter(Strategy):
    """Sends blocks, checkpoints and pieces of the state that are not what was decided."""

    name = "state corrupter"
    corrupts = True

    def __init__(self) -> None:
        super().__init__()
        self._made_up: dict[int, bytes] = {}
        """By height: a state that nobody had."""

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        lie = self._corrupted(liar, message)
        if lie is None:
            return [(to, message)]
        self.told += 1
        return [(to, lie)] if liar.chance.random() < 0.8 else [(to, message), (to, lie)]

    def state(self, liar: Liar, height: int, dump: bytes) -> bytes:
        if height in self._made_up:
            return self._made_up[height]
        if liar.chance.random() < 0.7:
            dump = self._changed(liar, dump)
            self.told += 1
        return dump

    def _changed(self, liar: Liar, data: bytes) -> bytes:
        """With one bit that is another."""
        changed = bytearray(data)
        changed[liar.chance.randrange(len(changed))] ^= 1 << liar.chance.randrange(8)
        return bytes(changed)

    def _checkpoint(self, liar: Liar, checkpoint: Any) -> Any:
        """A checkpoint that nobody has certified: of another state, or of another standing."""
        build, chance = liar.cluster.build, liar.chance
        height = checkpoint.certificate.height
        kind = chance.random()
        if kind < 0.3:
            return msgspec.structs.replace(
                checkpoint, standing=self._changed(liar, checkpoint.standing)
            )
        dump = liar.dumps.get(height)
        if kind < 0.6 or dump is None:
            return msgspec.structs.replace(checkpoint, state=chance.randbytes(32))
        machine = Machine.load(dump)
        machine.values["x"] = "what nobody wrote"
        made_up = self._made_up[height] = machine.dump()
        state = state_digest(made_up)
        digest = build.checkpoints.subject(checkpoint.standing, state)
        own = liar.signed(4, height, 0, digest).signature
        signatures = [
            (at, own if name == liar.name else chance.randbytes(64))
            for at, name in enumerate(liar.engine.epoch.voters)
        ]
        certificate = msgspec.structs.replace(
            checkpoint.certificate, digest=digest, signatures=signatures
        )
        return build.messages.Checkpoint(checkpoint.standing, state, certificate)

    def _corrupted(self, liar: Liar, message: Any) -> Any:
        build, chance = liar.cluster.build, liar.chance
        kind = type(message).__name__
        if kind == "Blocks" and message.blocks:
            blocks = list(message.blocks)
            at = chance.randrange(len(blocks))
            data, certificate = blocks[at]
            if chance.random() < 0.5:
                block = build.blocks.decode_block(data)
                lie = liar.request(junk(liar, block.height))
                data = build.blocks.encode_block(msgspec.structs.replace(block, requests=[lie]))
                if chance.random() < 0.5:
                    certificate = msgspec.structs.replace(
                        certificate, digest=build.blocks.block_digest(data)
                    )
            else:
                certificate = blocks[chance.randrange(len(blocks))][1]
            blocks[at] = (data, certificate)
            return build.messages.Blocks(blocks)
        if kind in ("Offer", "Stable"):
            return type(message)(self._checkpoint(liar, message.checkpoint))
        if kind == "Here" and chance.random() < 0.3:  # far ahead, so that others ask it
            return msgspec.structs.replace(message, height=message.height + chance.randrange(1, 50))
        return None


class CheckpointLiar(Strategy):
    """Votes for states that nobody has."""

    name = "checkpoint liar"

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        signed = own(liar, message, 4)
        if not signed:
            return [(to, message)]
        self.told += 1
        lie = liar.signed(4, signed.height, signed.view, liar.chance.randbytes(32))
        return [(to, liar.cluster.build.messages.Vote(lie))]
