"""Who makes up what others should have signed."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.strategies.strategy import Strategy, junk
from support.bft_world.verifier import NIL, PRECOMMIT, PREVOTE, PROPOSAL
from support.simulation.machine import Command, encode


class Forger(Strategy):
    """Makes up votes, requests and certificates of others, with signatures that it has or invents."""

    name = "forger"

    def __init__(self) -> None:
        super().__init__()
        self._heard: deque[Any] = deque(maxlen=40)
        """Statements of others."""
        self._proposals: deque[Any] = deque(maxlen=8)

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        signed = getattr(message, "signed", None)
        if signed is not None and signed.signer != liar.name:
            self._heard.append(signed)
            if hasattr(message, "block"):
                self._proposals.append(message)
        return True

    def ticks(self, liar: Liar) -> None:
        if liar.is_voter and liar.chance.random() < 0.5:
            lie = liar.chance.choice(
                (self._vote, self._votes, self._decision, self._proof, self._request)
            )(liar)
            if lie is not None:
                self.told += 1
                for to in liar.chance.sample(liar.others, liar.chance.randint(1, len(liar.others))):
                    liar.post(to, lie)

    def _signature(self, liar: Liar) -> bytes:
        """Of somebody, under something else; or of nobody."""
        if self._heard and liar.chance.random() < 0.7:
            found: bytes = liar.chance.choice(self._heard).signature
            return found
        return liar.chance.randbytes(64)

    def _vote(self, liar: Liar) -> Any:
        """A vote of another: with its own signature, or with one that the other gave for something else."""
        chance, build, engine = liar.chance, liar.cluster.build, liar.engine
        digest = chance.choice((NIL, chance.randbytes(32)))
        kind = chance.choice((PREVOTE, PRECOMMIT))
        if self._heard and chance.random() < 0.6:
            here = [
                one
                for one in self._heard
                if one.height == engine.height and one.view != engine.view and one.kind != PROPOSAL
            ]
            said = chance.choice(here or self._heard)
            changed = chance.choice(
                (
                    {"kind": PREVOTE + PRECOMMIT - said.kind if said.kind != PROPOSAL else PREVOTE},
                    {"view": engine.view},
                    {"view": engine.view},
                    {"height": engine.height},
                    {"view": engine.view, "height": engine.height},
                    {"epoch": said.epoch + chance.choice((-1, 1))}
                    if said.epoch > 1
                    else {"epoch": 2},
                    {"digest": digest},
                    {"signer": chance.choice(liar.others)},
                    {"signature": bytes([said.signature[0] ^ 1]) + said.signature[1:]},
                )
            )
            return build.messages.Vote(msgspec.structs.replace(said, **{"valid": -1, **changed}))
        own = liar.signed(kind, engine.height, engine.view, digest)
        victim = chance.choice(liar.others)
        return build.messages.Vote(msgspec.structs.replace(own, signer=victim))

    def _votes(self, liar: Liar) -> Any:
        """Votes of many for one block, as a leader passes them on."""
        _, digest, view = self._block(liar)
        kind = liar.chance.choice((PREVOTE, PRECOMMIT))
        certificate = self.certificate(liar, kind, liar.engine.height, view, digest)
        return liar.cluster.build.messages.Quorum(certificate)

    def certificate(self, liar: Liar, kind: int, height: int, view: int, digest: bytes) -> Any:
        """One that no quorum has signed: too few, one signer many times, of another kind, or made up."""
        chance, build, epoch = liar.chance, liar.cluster.build, liar.engine.epoch
        own = epoch.index.get(liar.name, 0), liar.signed(kind, height, view, digest).signature
        real = {
            epoch.index[one.signer]: one.signature
            for one in self._heard
            if (one.kind, one.height, one.view, one.digest) == (kind, height, view, digest)
            and one.signer in epoch.index
        }
        other = {
            epoch.index[one.signer]: one.signature
            for one in self._heard
            if (one.height, one.view, one.digest) == (height, view, digest)
            and one.signer in epoch.index
        }
        real[own[0]] = own[1]
        places = range(len(epoch.voters))
        signatures = chance.choice(
            (
                sorted(real.items()),
                [own] * epoch.quorum,
                [own] * (epoch.quorum - 1) + sorted(real.items())[-1:],
                [(at, own[1]) for at in places],
                sorted({**other, **real}.items()),
                sorted({**{at: self._signature(liar) for at in places}, **real}.items()),
            )
        )
        return build.messages.Certificate(kind, epoch.number, height, view, digest, signatures)

    def _block(self, liar: Liar) -> tuple[bytes, bytes, int]:
        """A block that may follow: proposed by another, or its own; with its digest and view."""
        chance, build, engine = liar.chance, liar.cluster.build, liar.engine
        mine = [one for one in self._proposals if one.signed.height == engine.height]
        if mine and chance.random() < 0.5:
            one = chance.choice(mine)
            return one.block, one.signed.digest, one.signed.view
        standing = engine.standing
        block = build.blocks.Block(
            standing.cluster,
            engine.epoch.number,
            engine.height,
            engine.view,
            liar.name,
            standing.digest,
            standing.position + 1,
            [liar.request(junk(liar, engine.height))],
            [],
            [],
        )
        data = build.blocks.encode_block(block)
        return data, build.blocks.block_digest(data), engine.view

    def _decision(self, liar: Liar) -> Any:
        """A block with a certificate that shows nothing."""
        data, digest, view = self._block(liar)
        certificate = self.certificate(liar, PRECOMMIT, liar.engine.height, view, digest)
        return liar.cluster.build.messages.Blocks([(data, certificate)])

    def _proof(self, liar: Liar) -> Any:
        """A proposal of a later view that was valid in an earlier one, as no certificate shows."""
        engine = liar.engine
        data, digest, _ = self._block(liar)
        first = max(1, engine.view)
        views = [
            view
            for view in range(first, first + len(engine.epoch.voters))
            if engine.standing.proposer(view) == liar.name
        ]
        if not views:
            return None  # nobody lets it lead any more
        view = views[0]
        valid = liar.chance.randrange(view)
        signed = liar.signed(PROPOSAL, engine.height, view, digest, valid)
        proof = self.certificate(liar, PREVOTE, engine.height, valid, digest)
        return liar.cluster.build.messages.Proposal(signed, data, proof)

    def _request(self, liar: Liar) -> Any:
        """Commands in another's name."""
        chance, build = liar.chance, liar.cluster.build
        victim = chance.choice(liar.others)
        boot = liar.engine.standing.counters.get(victim, (0, 0))[0] + 1
        forged = encode(
            Command("client 0", 10**6 + self.told, "append", "l", f"forged {self.told}")
        )
        sign = chance.choice((liar.sign, lambda said: self._signature(liar)))
        return build.messages.Ask(liar.asked(build, victim, boot, forged, sign))
