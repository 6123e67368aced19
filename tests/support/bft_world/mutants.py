"""Faults planted in copies of the engine, each a text in the place of another: simulation must find them."""

from __future__ import annotations

import attrs

from support.bft_world.build import Build, planted


@attrs.frozen
class Mutant:
    """One fault."""

    name: str
    file: str
    old: str
    new: str
    quick: bool = False
    """Whether some of the first 20 seeds find it."""
    form: bool = False
    """Whether the form of what is signed shows it, and nothing else could."""

    def build(self) -> Build:
        """The engine with it. Raises ValueError if the text is not there once: the engine has changed."""
        return planted(self.name, self.file, self.old, self.new, form=self.form)


MUTANTS = (
    Mutant(
        "no lock",
        "agreement.py",
        "            return self.locked_view == NO_VIEW or self.locked == digest\n",
        "            return True\n",
    ),
    Mutant(
        "any proof opens the lock",
        "agreement.py",
        "        return self.locked_view <= valid or self.locked == digest\n",
        "        return True\n",
    ),
    Mutant(
        "a certificate of 2f",
        "quorums.py",
        "    return (voters + faults(voters)) // 2 + 1\n",
        "    return 2 * faults(voters)\n",
        quick=True,
    ),
    Mutant(
        "the view is not signed",
        "signing.py",
        "_STATEMENT.pack(kind, cluster, epoch, height, view, valid, subject)",
        "_STATEMENT.pack(kind, cluster, epoch, height, 0, valid, subject)",
    ),
    Mutant(
        "the height is not signed",
        "signing.py",
        "_STATEMENT.pack(kind, cluster, epoch, height, view, valid, subject)",
        "_STATEMENT.pack(kind, cluster, epoch, 0, view, valid, subject)",
    ),
    Mutant(
        "the kind is not signed",
        "signing.py",
        "_STATEMENT.pack(kind, cluster, epoch, height, view, valid, subject)",
        "_STATEMENT.pack(0, cluster, epoch, height, view, valid, subject)",
    ),
    Mutant(
        "the epoch is not signed",
        "signing.py",
        "_STATEMENT.pack(kind, cluster, epoch, height, view, valid, subject)",
        "_STATEMENT.pack(kind, cluster, 0, height, view, valid, subject)",
        form=True,
        quick=True,
    ),
    Mutant(
        "the cluster is not signed",
        "signing.py",
        "_STATEMENT.pack(kind, cluster, epoch, height, view, valid, subject)",
        "_STATEMENT.pack(kind, bytes(32), epoch, height, view, valid, subject)",
        form=True,
        quick=True,
    ),
    Mutant(
        "the vote is not persisted",
        "deciding.py",
        "            self.proposed,\n            self.prevoted,\n",
        '            self.proposed,\n            b"",\n',
        quick=True,
    ),
    Mutant(
        "the lock is not persisted",
        "deciding.py",
        "            self.locked_view,\n            self.locked,\n            self.valid_view,\n",
        '            NO_VIEW,\n            b"",\n            self.valid_view,\n',
        quick=True,
    ),
    Mutant(
        "the locked block is not stored",
        "deciding.py",
        "            self._tail_entries = self._store(block)\n",
        "            self._tail_entries = []\n",
        quick=True,
    ),
    Mutant(
        "votes go out before they are durable",
        "core.py",
        "        self._held.append(message)\n",
        "        self._held.append(message)\n        self._broadcast(message)\n",
        quick=True,
    ),
    Mutant(
        "after a restart the view is the first",
        "hearing.py",
        "        self.view = max(0, restored.promises.view)\n",
        "        self.view = 0\n",
        quick=True,
    ),
    Mutant(
        "a restarted node has promised nothing",
        "deciding.py",
        "        self.prevoted = promises.prevoted\n",
        '        self.prevoted = b""\n',
    ),
    Mutant(
        "certificates are not verified",
        "core.py",
        "        return all(map(self.signatures.holds, self._certificate_claims(certificate, epoch)))\n",
        "        return True\n",
    ),
    Mutant(
        "who signs twice counts twice",
        "core.py",
        "        if not in_order(signatures) or signatures[-1][0] >= len(epoch.voters):\n",
        "        if signatures[-1][0] >= len(epoch.voters):\n",
    ),
    Mutant(
        "signatures of votes are not verified",
        "hearing.py",
        "        if not self._signed_ok(signed):\n"
        "            return self._refuse(Reason.SIGNATURE, signed.signer)\n"
        "        if before is not None:\n"
        "            return self._note(before, signed)\n"
        "        ballot = self.votes.at(signed.view)\n"
        "        ballot.add(signed)\n",
        "        if before is not None:\n"
        "            return self._note(before, signed)\n"
        "        ballot = self.votes.at(signed.view)\n"
        "        ballot.add(signed)\n",
    ),
    Mutant(
        "a valid view needs no proof",
        "hearing.py",
        "            and self._holds(proof)\n",
        "",
    ),
    Mutant(
        "a proof of any block will do",
        "hearing.py",
        "            and (proof.kind, proof.height, proof.view, proof.digest)\n"
        "            == (Kind.PREVOTE, signed.height, signed.valid, signed.digest)\n",
        "            and (proof.kind, proof.height, proof.view)\n"
        "            == (Kind.PREVOTE, signed.height, signed.valid)\n",
    ),
    Mutant(
        "what was valid is not proposed again",
        "agreement.py",
        "        found = self._blocks.get(self.valid) if self.valid_view > NO_VIEW else None\n",
        "        found = None\n",
    ),
    Mutant(
        "prevotes decide",
        "agreement.py",
        "        digest = ballot.agreed(Kind.PRECOMMIT, self.epoch.quorum)\n",
        "        digest = ballot.agreed(Kind.PREVOTE, self.epoch.quorum)\n",
        quick=True,
    ),
    Mutant(
        "precommits without a quorum of prevotes",
        "agreement.py",
        "        agreed = ballot.agreed(Kind.PREVOTE, quorum)\n",
        "        agreed = ballot.agreed(Kind.PREVOTE, self.epoch.some_honest)\n",
    ),
    Mutant(
        "nobody gives up a view",
        "agreement.py",
        "        if self._precommit_at is not None and self.now >= self._precommit_at:\n",
        "        if False:\n",
    ),
    Mutant(
        "a silent leader is waited for",
        "agreement.py",
        "        if self._propose_at is not None and self.now >= self._propose_at:\n",
        "        if False:\n",
    ),
    Mutant(
        "requests are not signed",
        "core.py",
        "        return request.origin in self.epoch.keys and self.signatures.holds(\n"
        "            self._request_claim(request)\n"
        "        )\n",
        "        return request.origin in self.epoch.keys\n",
    ),
    Mutant(
        "a leader may leave requests out",
        "agreement.py",
        "            if origin:\n",
        "            if False:\n",
    ),
    Mutant(
        "no evidence is kept",
        "hearing.py",
        "        if now.signer != self.name:\n",
        "        if False:\n",
        quick=True,
    ),
    Mutant(
        "evidence of one signature alone",
        "core.py",
        "        return evidence.accused in self.epoch.index and all(\n",
        "        return evidence.accused in self.epoch.index and any(\n",
    ),
    Mutant(
        "any two statements are evidence",
        "blocks.py",
        '            return "two statements that do not exclude each other"\n',
        "            pass\n",
    ),
    Mutant(
        "checkpoints are not verified",
        "checkpoints.py",
        "            or not self._holds(certificate, standing.epoch)\n",
        "",
    ),
    Mutant(
        "a checkpoint of other digests",
        "checkpoints.py",
        "            or certificate.digest != subject(checkpoint.standing, checkpoint.state)\n",
        "",
    ),
    Mutant(
        "blocks without their certificate",
        "catchup.py",
        "        if not self._holds(certificate):\n",
        "        if False:\n",
    ),
    Mutant(
        "reads ask too few",
        "reads.py",
        "            if len(answers) >= self.epoch.quorum and max(answers) <= self.standing.height:\n",
        "            if len(answers) >= 1 and max(answers) <= self.standing.height:\n",
    ),
    Mutant(
        "readers believe any height",
        "reads.py",
        '                return self._refuse(Reason.CERTIFICATE, "of a read")\n',
        "                pass\n",
    ),
    Mutant(
        "a life numbers its requests as the one before",
        "requests.py",
        "        self.boot = max(restored.boot, counted, boot - 1) + 1\n",
        "        self.boot = 1\n",
    ),
)
