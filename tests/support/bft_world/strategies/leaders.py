"""Leaders that tell each half another block, say nothing, or leave out what somebody asks for."""

from __future__ import annotations

from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.strategies.strategy import Out, Strategy, junk, own
from support.bft_world.verifier import NIL, PRECOMMIT, PREVOTE, PROPOSAL


class EquivocatingLeader(Strategy):
    """Proposes one block to some and another one to others, and votes for each where it was proposed."""

    name = "equivocating leader"

    def __init__(self) -> None:
        super().__init__()
        self._others: dict[tuple[int, int], tuple[Any, dict[str, str]]] = {}
        """By height and view: the second proposal, and who gets which."""

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if own(liar, message, PROPOSAL) and hasattr(message, "block"):
            other, sides = self._second(liar, message)
            side = sides.get(to, "both")
            self.told += side != "first"
            return [
                (to, one)
                for one, mark in ((message, "first"), (other, "second"))
                if side in (mark, "both")
            ]
        signed = own(liar, message, PREVOTE, PRECOMMIT)
        if signed and signed.digest != NIL and (signed.height, signed.view) in self._others:
            other, sides = self._others[signed.height, signed.view]
            lie = liar.vote(signed.kind, signed.height, signed.view, other.signed.digest)
            side = sides.get(to, "both")
            return [
                (to, one)
                for one, mark in ((message, "first"), (lie, "second"))
                if side in (mark, "both")
            ]
        return [(to, message)]

    def _second(self, liar: Liar, message: Any) -> tuple[Any, dict[str, str]]:
        signed = message.signed
        known = self._others.get((signed.height, signed.view))
        if known is None:
            build, chance = liar.cluster.build, liar.chance
            block = build.blocks.decode_block(message.block)
            more = [one for one in block.requests if one.origin != liar.name]
            if len(more) < 2 or chance.random() < 0.5:
                more.append(liar.request(junk(liar, signed.height)))
            else:
                more.pop()
            data = build.blocks.encode_block(msgspec.structs.replace(block, requests=more))
            digest = build.blocks.block_digest(data)
            second = build.messages.Proposal(
                liar.signed(PROPOSAL, signed.height, signed.view, digest), data, None
            )
            marks = chance.choice((("first", "second"), ("first", "second", "both")))
            sides = {name: chance.choice(marks) for name in liar.others}
            known = self._others[signed.height, signed.view] = (second, sides)
            for height, view in [at for at in self._others if at[0] < signed.height - 2]:
                del self._others[height, view]
        return known


class SilentLeader(Strategy):
    """Proposes nothing, or to few, for a while; else it does what it should."""

    name = "silent leader"

    def __init__(self) -> None:
        super().__init__()
        self._silent = 1.0
        self._for_good: bool | None = None

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if own(liar, message, PROPOSAL) and liar.chance.random() < self._silent:
            self.told += 1
            return []
        return [(to, message)]

    def ticks(self, liar: Liar) -> None:
        if self._for_good is None:
            self._for_good = liar.chance.random() < 0.5
        if not self._for_good and liar.chance.random() < 0.02:
            self._silent = liar.chance.choice((1.0, 1.0, 0.7, 0.0))


class Censor(Strategy):
    """Leads, and leaves out whatever some node asks for."""

    name = "censor"

    def __init__(self) -> None:
        super().__init__()
        self._victim = ""

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        if not self._victim:
            self._victim = liar.chance.choice(liar.others)
        request = getattr(message, "request", None)
        if request is not None and request.origin == self._victim:
            self.told += 1
            return False
        return True
