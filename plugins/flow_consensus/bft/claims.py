"""Which signatures of a message are to be checked: for who has many of them checked in a thread."""

from __future__ import annotations

from collections.abc import Iterable

from flow_consensus.bft.blocks import change_statement
from flow_consensus.bft.core import Core
from flow_consensus.bft.messages import (
    Accuse,
    Ask,
    Blocks,
    Endorse,
    Message,
    Offer,
    Proposal,
    Quorum,
    ReadAnswer,
    Stable,
    Vote,
)
from flow_consensus.bft.signing import Claim


class Claims(Core):
    """Signatures, before a message is taken."""

    def claims(self, message: Message) -> list[Claim]:
        """Signatures of a message that were not checked yet, as far as they can be told without more.

        To be checked by `signatures.check` in a thread, and given to `admit`; whoever does not, has `step`
        check them.
        """
        found: list[Claim] = []
        epoch = self.epoch
        if isinstance(message, Vote):
            if message.signed.signer in epoch.index:
                found.append(self._claim(message.signed, epoch))
        elif isinstance(message, Ask):
            if message.request.origin in epoch.keys:
                found.append(self._request_claim(message.request))
        elif isinstance(message, Proposal):
            found += self._proposal_claims(message)
        elif isinstance(message, Blocks):
            for _, certificate in message.blocks:
                found += self._certificate_claims(certificate, epoch)
        elif isinstance(message, ReadAnswer):
            if message.proof is not None:
                found += self._certificate_claims(message.proof, epoch)
        elif isinstance(message, Quorum):
            found += self._certificate_claims(message.certificate, epoch)
        elif isinstance(message, Offer | Stable):
            found += self._certificate_claims(message.checkpoint.certificate, epoch)
        elif isinstance(message, Accuse):
            if message.evidence.accused in epoch.index:
                found += self._evidence_claims(message.evidence)
        elif isinstance(message, Endorse):
            said = change_statement(self.standing.cluster, message.change)
            found += [
                Claim(epoch.keys[one.signer], said, one.signature)
                for one in message.change.endorsements
                if one.signer in epoch.index
            ]
        return [one for one in found if not self.signatures.knows(one)]

    def _proposal_claims(self, message: Proposal) -> list[Claim]:
        epoch = self.epoch
        found = []
        if message.signed.signer in epoch.index:
            found.append(self._claim(message.signed, epoch))
        if message.proof is not None:
            found += self._certificate_claims(message.proof, epoch)
        known = self._decoded.get(message.signed.digest)
        if known is not None:
            found += [
                self._request_claim(one) for one in known[1].requests if one.origin in epoch.keys
            ]
        return found

    def admit(self, claims: Iterable[Claim]) -> None:
        """These were checked, and hold."""
        self.signatures.admit(claims)
