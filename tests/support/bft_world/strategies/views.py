"""Who says again what is over, and who lies in a change of view."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.strategies.forger import Forger
from support.bft_world.strategies.strategy import Out, Strategy, junk, own
from support.bft_world.verifier import NIL, PRECOMMIT, PREVOTE, PROPOSAL


class Replayer(Strategy):
    """Says again what anybody has said, of old views and heights, to anybody, in its place or beside it."""

    name = "replayer"

    def __init__(self) -> None:
        super().__init__()
        self._heard: deque[Any] = deque(maxlen=300)

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        self._heard.append(message)
        return True

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        self._heard.append(message)
        if liar.chance.random() < 0.7:
            return [(to, message)]
        self.told += 1
        old = (to, liar.chance.choice(self._heard))
        return liar.chance.choice(([old], [(to, message), old], [old, (to, message)]))


class ViewLiar(Strategy):
    """Where views change, leads as if nothing were locked: fresh blocks; proofs stale or made up."""

    name = "view liar"

    def __init__(self) -> None:
        super().__init__()
        self._forger = Forger()
        self._proofs: deque[Any] = deque(maxlen=8)
        """Certificates of old views and heights."""
        self._prevotes: dict[tuple[int, int, bytes], dict[str, bytes]] = {}
        """By height, view and block: who has prevoted for it, and the signature."""
        self._lies: dict[tuple[int, int], Any] = {}
        self._blocks: dict[bytes, bytes] = {}

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        self._forger.hears(liar, sender, message)
        proof = getattr(message, "proof", None)
        if proof is not None:
            self._proofs.append(proof)
        signed = getattr(message, "signed", None)
        if signed is None or signed.digest == NIL:
            return True
        if signed.kind == PREVOTE:
            at = (signed.height, signed.view, signed.digest)
            self._prevotes.setdefault(at, {})[signed.signer] = signed.signature
        elif hasattr(message, "block"):
            self._blocks[signed.digest] = message.block
        elif signed.kind == PRECOMMIT:
            self._lead_on(liar, signed)
        return True

    def _lead_on(self, liar: Liar, signed: Any) -> None:
        """One may have decided alone, and this liar leads next: go on before its own engine decides, too."""
        height, view = signed.height, signed.view + 1
        if (
            liar.pattern(height, signed.view) != "alone"
            or (height, view) in self._lies
            or signed.digest not in self._blocks
            or liar.engine.height != height
            or liar.engine.standing.proposer(view) != liar.name
        ):
            return
        lie = self._lies[height, view] = self._lie(liar, height, view, self._blocks[signed.digest])
        self.told += 1
        for to in liar.others:
            liar.post(to, lie)

    def _stale(
        self, liar: Liar, height: int, view: int, *, last: bool = False
    ) -> tuple[bytes, bytes, int, Any] | None:
        """A block that a quorum has prevoted for in an earlier view, with its digest, view and proof: of the
        first such view, for whoever is locked is locked in a later one; or of the last."""
        epoch = liar.engine.epoch
        for (at, valid, digest), signatures in sorted(self._prevotes.items(), reverse=last):
            if at != height or valid >= view or digest not in self._blocks:
                continue
            own = liar.signed(PREVOTE, height, valid, digest).signature
            both = {**signatures, liar.name: own}
            places = sorted(
                (epoch.index[name], one) for name, one in both.items() if name in epoch.index
            )
            if len(places) >= epoch.quorum:
                proof = liar.cluster.build.messages.Certificate(
                    PREVOTE, epoch.number, height, valid, digest, places
                )
                return self._blocks[digest], digest, valid, proof
        return None

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        signed = own(liar, message, PROPOSAL)
        if not signed or not hasattr(message, "block"):
            return [(to, message)]
        self._blocks[signed.digest] = message.block
        if not signed.view:
            return [(to, message)]
        self.told += 1
        at = (signed.height, signed.view)
        lie = self._lies.get(at)
        if lie is None or liar.chance.random() < 0.1:
            lie = self._lies[at] = self._lie(liar, *at, message.block)
        return [(to, lie), (to, liar.vote(PREVOTE, *at, lie.signed.digest))]

    def _lie(self, liar: Liar, height: int, view: int, like: bytes) -> Any:
        """A proposal that an honest leader would not make; a fresh block is like another of its height."""
        build, chance = liar.cluster.build, liar.chance
        stale = self._stale(liar, height, view)
        kind = chance.choice(
            ("stale", "stale", "stale", "forged", "forged", "another's", "another's", "none", "old")
        )
        if stale is not None and kind == "stale":
            data, digest, valid, proof = stale
        else:
            block = build.blocks.decode_block(like)
            fresh = [liar.request(junk(liar, view))]
            data = build.blocks.encode_block(msgspec.structs.replace(block, requests=fresh))
            digest = build.blocks.block_digest(data)
            valid, proof = -1, None
            other = self._stale(liar, height, view, last=True)
            if other is not None and kind == "another's":
                _, _, valid, proof = other
            elif kind == "old" and self._proofs:
                proof = chance.choice(self._proofs)
                valid = min(proof.view, view - 1)
            elif kind != "none":
                valid = chance.choice((view - 1, chance.randrange(view)))
                proof = self._forger.certificate(liar, PREVOTE, height, valid, digest)
        said = liar.signed(PROPOSAL, height, view, digest, valid)
        return build.messages.Proposal(said, data, proof)
