"""Reads that miss nothing that was acknowledged, without a block of their own.

Whoever has decided a height has seen 2f + 1 precommits of it, f + 1 of them of honest voters. So among any
2f + 1 voters one honest has precommitted it before it could be acknowledged to anybody, and says so when
asked. The highest answer counts; and lest a liar keep a reader waiting for what will never be, an answer
beyond what the reader has needs a proof: the precommits of that height, or the prevotes that made its voter
lock.

(As reads of quorums in PBFT, Castro and Liskov 1999, section 5.1, with proofs in the place of matching
answers.)
"""

from __future__ import annotations

import attrs

from flow_consensus.bft.core import Reason, Refused
from flow_consensus.bft.messages import Certificate, Read, ReadAnswer
from flow_consensus.bft.requests import Requests
from flow_consensus.bft.signing import NIL, NO_VIEW, Kind
from flow_consensus.effects import ReadState


@attrs.define(eq=False)
class _Reading:
    context: object
    epoch: int
    asked: int
    answers: dict[str, int] = attrs.field(factory=dict)


class Reads(Requests):
    """Asking how far anything may be decided."""

    _readings: dict[int, _Reading]
    _reads: int

    def _begin_reads(self) -> None:
        self._readings = {}
        self._reads = 0

    def read(self, context: object) -> None:
        """Ask a quorum; the answer comes as a `ReadState` with this context. Raises Refused."""
        if self.failed:
            raise Refused(f"the disk has failed: {self.failed}")
        if len(self._readings) >= self.settings.reads:
            raise Refused(f"{len(self._readings)} reads wait", busy=True)
        self._reads += 1
        # an answer to an earlier life's question must not count for this one's
        number = (self.boot % 2**31) << 32 | self._reads
        reading = self._readings[number] = _Reading(context, self.epoch.number, self.now)
        if self.name in self.epoch.index:
            reading.answers[self.name] = self._may_be_decided()[0]
        if self._boot_durable:
            self._broadcast_voters(Read(number, self.standing.height))
        self._finish_reads()

    def forget_read(self, context: object) -> None:
        """Nobody waits for it any more."""
        for number in [at for at, one in self._readings.items() if one.context == context]:
            del self._readings[number]

    def _may_be_decided(self) -> tuple[int, Certificate | None]:
        """The highest height that this node has precommitted, and the proof that it could."""
        if self.locked_view > NO_VIEW:
            return self.height, self.lock_proof
        return self.standing.height, self.certificate

    def _on_read(self, sender: str, message: Read) -> str:
        if self.name not in self.epoch.index:
            return self._refuse(Reason.NOT_VOTER, self.name)
        height, proof = self._may_be_decided()
        self._send(
            sender, ReadAnswer(message.id, height, proof if height > message.height else None)
        )
        return ""

    def _on_read_answer(self, sender: str, message: ReadAnswer) -> str:
        reading = self._readings.get(message.id)
        if reading is None or sender not in self.epoch.index:
            return self._refuse(Reason.NOT_ASKED, sender)
        height = message.height
        if height > self.standing.height:
            proof = message.proof
            if (
                proof is None
                or proof.digest == NIL
                or proof.kind not in (Kind.PREVOTE, Kind.PRECOMMIT)
                or proof.height != height
                or not self._holds(proof)
            ):
                return self._refuse(Reason.CERTIFICATE, "of a read")
            if height > self.height or proof.kind == Kind.PRECOMMIT:
                self._fetch(sender)
        reading.answers[sender] = max(height, reading.answers.get(sender, 0))
        self._finish_reads()
        return ""

    def _finish_reads(self) -> None:
        """Answer those for which a quorum has answered, and which this node has caught up with."""
        index = self.epoch.index
        for number, reading in list(self._readings.items()):
            if reading.epoch != self.epoch.number:
                # other voters decide now: who answered need not be a quorum of them
                del self._readings[number]
                self._read_states.append(ReadState(reading.context, None))
                continue
            answers = [one for name, one in reading.answers.items() if name in index]
            if len(answers) >= self.epoch.quorum and max(answers) <= self.standing.height:
                del self._readings[number]
                self._read_states.append(ReadState(reading.context, self.standing.position))

    def _acts_at(self) -> int:
        due = super()._acts_at()
        return min(due, self._beat(self.settings.here_ticks)) if self._readings else due

    def _tick_reads(self) -> None:
        if self._readings and self._boot_durable and self.now % self.settings.here_ticks == 0:
            for number, reading in self._readings.items():
                if self.now - reading.asked >= self.settings.here_ticks:
                    for name in self.epoch.voters:
                        if name not in reading.answers:
                            self._send(name, Read(number, self.standing.height))
