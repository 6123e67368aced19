"""Who accuses others of what they have not done."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.strategies.strategy import Strategy


class FalseAccuser(Strategy):
    """Accuses others, by evidence that shows nothing."""

    name = "false accuser"

    def __init__(self) -> None:
        super().__init__()
        self._heard: deque[Any] = deque(maxlen=40)

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        signed = getattr(message, "signed", None)
        if signed is not None and signed.signer != liar.name:
            self._heard.append(signed)
        return True

    def ticks(self, liar: Liar) -> None:
        chance, build = liar.chance, liar.cluster.build
        if not self._heard or chance.random() < 0.8:
            return
        self.told += 1
        one = chance.choice(self._heard)
        same = [other for other in self._heard if other.signer == one.signer]
        other = chance.choice(same)
        kind = chance.random()
        if kind < 0.4:
            other = msgspec.structs.replace(one, digest=chance.randbytes(32))
        elif kind < 0.6:
            lie = liar.signed(one.kind, one.height, one.view, chance.randbytes(32), one.valid)
            other = msgspec.structs.replace(lie, signer=one.signer)
        elif kind < 0.8:
            other = msgspec.structs.replace(other, kind=one.kind, height=one.height, view=one.view)
        accusation = build.messages.Accuse(build.blocks.evidence_of(one, other))
        for to in liar.others:
            liar.post(to, accusation)
