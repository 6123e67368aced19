"""Ways to lie, each a small class: what a Byzantine node says in the place of what it should, or beside it.

A strategy sees every message before it goes out (`says`) and before the engine hears it (`hears`), and each
tick. Several of them may be one liar's at the same time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.server import state_digest
from support.bft_world.verifier import NIL, PRECOMMIT, PREVOTE, PROPOSAL
from support.simulation.machine import Command, Machine, encode

Out = Iterable[tuple[str, Any]]


class Strategy:
    """One that tells no lies."""

    name = "honest"
    twins = False
    """Whether the node runs twice."""
    corrupts = False
    """Whether it lies about what others take in who are far behind."""

    def __init__(self) -> None:
        self.told = 0
        """How often it has lied."""

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        """What goes out in the place of a message of the engine's."""
        return [(to, message)]

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        """A message has come; whether the engine hears it, too."""
        return True

    def ticks(self, liar: Liar) -> None:
        """Time passes."""

    def state(self, liar: Liar, height: int, dump: bytes) -> bytes:
        """What is sent in the place of the state at a checkpoint."""
        return dump


def _own(liar: Liar, message: Any, *kinds: int) -> Any:
    """The statement of a message, if it is the liar's own and of one of these kinds."""
    signed = getattr(message, "signed", None)
    return (
        signed
        if signed is not None and signed.signer == liar.name and signed.kind in kinds
        else None
    )


def _junk(liar: Liar, number: int) -> bytes:
    """A command that changes no client's state."""
    return encode(Command(f"liar {liar.name}", number, "write", "lies", number))


class EquivocatingLeader(Strategy):
    """Proposes one block to some and another one to others, and votes for each where it was proposed."""

    name = "equivocating leader"

    def __init__(self) -> None:
        super().__init__()
        self._others: dict[tuple[int, int], tuple[Any, dict[str, str]]] = {}
        """By height and view: the second proposal, and who gets which."""

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if _own(liar, message, PROPOSAL) and hasattr(message, "block"):
            other, sides = self._second(liar, message)
            side = sides.get(to, "both")
            self.told += side != "first"
            return [
                (to, one)
                for one, mark in ((message, "first"), (other, "second"))
                if side in (mark, "both")
            ]
        signed = _own(liar, message, PREVOTE, PRECOMMIT)
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
                more.append(liar.request(_junk(liar, signed.height)))
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


class DoubleVoter(Strategy):
    """Votes for one thing, and for another: for a block, for nothing, for what it has made up."""

    name = "double voter"

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        signed = _own(liar, message, PREVOTE, PRECOMMIT)
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
        return [] if _own(liar, message, PREVOTE, PRECOMMIT) else [(to, message)]

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
        if _own(liar, message, PREVOTE, PRECOMMIT) and to in self._kept_from:
            self.told += 1
            return []
        return [(to, message)]

    def ticks(self, liar: Liar) -> None:
        if liar.chance.random() < 0.05:
            others = liar.others
            self._kept_from = set(liar.chance.sample(others, liar.chance.randint(1, len(others))))


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
            [liar.request(_junk(liar, engine.height))],
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
        signed = _own(liar, message, PROPOSAL)
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
            fresh = [liar.request(_junk(liar, view))]
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


class SilentLeader(Strategy):
    """Proposes nothing, or to few, for a while; else it does what it should."""

    name = "silent leader"

    def __init__(self) -> None:
        super().__init__()
        self._silent = 1.0
        self._for_good: bool | None = None

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if _own(liar, message, PROPOSAL) and liar.chance.random() < self._silent:
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
                lie = liar.request(_junk(liar, block.height))
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
        signed = _own(liar, message, 4)
        if not signed:
            return [(to, message)]
        self.told += 1
        lie = liar.signed(4, signed.height, signed.view, liar.chance.randbytes(32))
        return [(to, liar.cluster.build.messages.Vote(lie))]


class ReadLiar(Strategy):
    """Tells readers of heights that are long past, or that never were."""

    name = "read liar"

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if type(message).__name__ != "ReadAnswer":
            return [(to, message)]
        self.told += 1
        height = liar.chance.choice((0, message.height + liar.chance.randrange(1, 5)))
        return [(to, msgspec.structs.replace(message, height=height))]


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


class Twin(Strategy):
    """Runs twice, see `twins`."""

    name = "twins"
    twins = True


STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (
        EquivocatingLeader,
        DoubleVoter,
        YesSayer,
        VoteWithholder,
        Forger,
        Replayer,
        ViewLiar,
        SilentLeader,
        Censor,
        StateCorrupter,
        CheckpointLiar,
        ReadLiar,
        FalseAccuser,
        Twin,
    )
}
