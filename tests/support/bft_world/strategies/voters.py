"""Voters that vote twice, for everything, or not at all."""

from __future__ import annotations

from typing import Any

from support.bft_world.liar import Liar
from support.bft_world.strategies.strategy import Out, Strategy, own
from support.bft_world.verifier import NIL, PRECOMMIT, PREVOTE


class DoubleVoter(Strategy):
    """Votes for one thing, and for another: for a block, for nothing, for what it has made up."""

    name = "double voter"

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        signed = own(liar, message, PREVOTE, PRECOMMIT)
        if not signed or liar.chance.random() < 0.4:
            return [(to, message)]
        self.told += 1
        digest = liar.chance.choice((NIL, liar.chance.randbytes(32)))
        if digest == signed.digest:
            digest = liar.chance.randbytes(32)
        lie = liar.vote(signed.kind, signed.height, signed.view, digest)
        return liar.chance.choice(
            ([(to, lie)], [(to, message), (to, lie)], [(to, lie), (to, message)])
        )


class YesSayer(Strategy):
    """Tells each what it wants to hear: its votes are for what that one votes for, unless there is a plan."""

    name = "yes-sayer"

    def __init__(self) -> None:
        super().__init__()
        self._answered: set[tuple[str, int, int, bytes]] = set()

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        return [] if own(liar, message, PREVOTE, PRECOMMIT) else [(to, message)]

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        signed = getattr(message, "signed", None)
        if signed is None or signed.signer != sender or signed.kind != PREVOTE:
            return True
        what = (sender, signed.height, signed.view, signed.digest)
        if what not in self._answered:
            self._answered.add(what)
            self.told += 1
            at = (signed.height, signed.view)
            no = liar.pattern(*at) == "hidden"
            for kind in (PREVOTE, PRECOMMIT):
                liar.post(sender, liar.vote(kind, *at, NIL if no else signed.digest))
        return True


class VoteWithholder(Strategy):
    """Keeps its votes from some, or from all, for a while."""

    name = "vote withholder"

    def __init__(self) -> None:
        super().__init__()
        self._kept_from: set[str] = set()

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if own(liar, message, PREVOTE, PRECOMMIT) and to in self._kept_from:
            self.told += 1
            return []
        return [(to, message)]

    def ticks(self, liar: Liar) -> None:
        if liar.chance.random() < 0.05:
            others = liar.others
            self._kept_from = set(liar.chance.sample(others, liar.chance.randint(1, len(others))))
