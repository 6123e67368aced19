"""What the gate has learned, and how it learns: its parts that a snapshot keeps, put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from flow_gates.evidence import WEIGHTS, finite
from flow_gates.moe.calibration import Calibration
from flow_gates.moe.chance import Chance
from flow_gates.moe.ewc import Consolidation
from flow_gates.moe.losses import gradient, softmax
from flow_gates.moe.network import Network, Scored
from flow_gates.moe.practising import Practice, evidence
from flow_gates.moe.replay import Example, Replay
from flow_gates.moe.scope import OF_SIMILARITY, Scope
from flow_gates.moe.settings import MoeConfig
from flow_gates.moe.slots import Slots
from flow_gates.moe.step import Step
from flow_gates.moe.track import Track
from flow_gates.settings import WORDS_ONLY
from flowcore.routing import Identity, Lesson
from flowcore.text import Features

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_LOOKED_AT = 3
"""How many of the best experts the nearest of what is kept is looked for among."""
_FITTED = 2
"""The threshold is fitted on one of so many lessons."""


class Learner:
    """Everything learned. Rows are those of `slots`, and there is one in `network` for each of them."""

    def __init__(self, config: MoeConfig, identity: Identity, seed: int) -> None:
        self.config = config
        self.identity = identity
        self.slots = Slots()
        vectors, words, _ = config.described.for_embedder(identity)
        self.network = Network(identity.dimensions, config.learning.shortlist, (vectors, words))
        self.chance = Chance(seed)
        self.replay = Replay(config.replay, self.chance)
        self.ewc = Consolidation(config.ewc, identity.dimensions)
        self.calibration = Calibration(config.calibration)
        self.scope = Scope(config.scope.cold, config.scope.miss)
        self.track = Track(identity.dimensions)
        self.active: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Shape (rows,): the experts that had lessons since the last consolidation."""
        self.lessons = 0
        self.practised = 0
        """How often a lesson was learned that it had had before."""
        self.loss: float | None = None
        """The loss of late lessons, before they were learned; None before there was one in this life."""
        self.taught: dict[int, int] = {}
        """How many lessons each row had."""
        self._practice: Practice | None = None
        """What is known while lessons are gone over with a map that was fitted to them."""
        self.rates: Floats = np.ones(0, np.float32)
        """Shape (rows,): the part of the first learning rates that each row has."""
        told = repr((config.replay.kind, seed, tuple(WEIGHTS)))
        self.form = blake2b(told.encode(), digest_size=8).hexdigest()
        """A hash of what a snapshot depends on besides the embedder; features of other weights are others."""

    def make_room(self) -> None:
        """Have rows for all slots."""
        before = self.network.rows
        self.network.grow(len(self.slots.names))
        if self.network.rows > before:
            self.ewc.grow(self.network.rows)
            active = np.zeros(self.network.rows, np.bool_)
            active[: len(self.active)] = self.active
            self.active = active
            self.settle()

    def _settle(self, place: int) -> None:
        """The part of the first learning rates that a row has by now."""
        learning = self.config.learning
        slower = (1.0 + self.taught.get(place, 0) / learning.settles) ** -0.5
        rate = max(slower, learning.slowest)
        if self._practice is not None:
            rate *= evidence(self.taught.get(place, 0))
        self.rates[place] = rate

    def settle(self) -> None:
        """The rates of all rows anew, from how many lessons they had."""
        self.rates = np.ones(self.network.rows, np.float32)
        for place in self.taught:
            self._settle(place)

    def forget_overdue(self) -> None:
        """Forget experts that have been gone for too long."""
        for name in self.slots.overdue(self.lessons - self.config.learning.absent):
            self._forget(name)

    def _forget(self, name: str) -> None:
        place = self.slots.free(name)
        self.network.clear(place)
        self.ewc.forget(place)
        self.replay.forget(place)
        self.active[place] = False
        self.taught.pop(place, None)
        self._settle(place)
        self.track.replayed.pop(place, None)

    def learn(self, lesson: Lesson, vector: Floats, features: Features) -> None:
        """Take in one outcome of an expert that has a row, and some earlier ones again.

        One that it had before is only learned: what is measured, kept and counted is of what was not known.
        """
        place = self.slots.places[lesson.expert]
        if lesson.again:
            if not self.practised and self._fits:
                self._begin_practice()
            self.practised += 1
            self.scope.begin_anew()
        else:
            self.lessons += 1
            self.taught[place] = self.taught.get(place, 0) + 1
            self._settle(place)
        cells = self.network.cells(features)
        scored = self.network.score(vector, features, cells, anyway=place)
        at = int((scored.places == place).argmax())
        if lesson.again and self._practice is not None:
            scored.logits[at] -= np.float32(self._practice.gain(place, vector))
        order = np.negative(scored.logits).argsort(kind="stable")
        weight = min(lesson.weight / lesson.propensity, self.config.learning.max_weight)
        shares = softmax(scored.logits)
        if not lesson.again:
            self._measure(lesson, scored, at, vector, order)
            self._lose(float(shares[at]), lesson.reward)
        slope = gradient(shares, at, lesson.reward, lesson.exclusive)
        slope *= weight
        self.active[place] = True
        if self.ewc.points:
            idle = ~self.active.take(scored.places)
            slope[idle] *= np.float32(self.config.learning.others)
        step = Step()
        step.add(scored.places, slope, vector, cells)
        told = vector.tobytes()
        for _ in range(self.config.replay.samples):
            example = self.replay.draw()
            # what the very text of this lesson was for before is not held against it
            if example is not None and (example.place == place or example.vector.tobytes() != told):
                self._again(example, place, step)
        self._take(step)
        if lesson.again:
            return
        if lesson.reward >= 0.5 and weight > 0:
            self.replay.offer(place, vector, features, scored, order)
        every = self.config.ewc.every
        if every and self.lessons % every == 0:
            self.consolidate()

    @property
    def _fits(self) -> bool:
        """Whether a map has something to be fitted to, and to add.

        Where experts had more lessons than are kept, their own weights know more than one prototype, most
        of all where an expert is there for many things. Where vectors know only words, words say it better.
        """
        replay = self.config.replay
        if not self.config.metric or self.identity.name in WORDS_ONLY or replay.kind != "examples":
            return False
        few = self.lessons <= replay.per_expert * len(self.taught)
        return few and len(self.replay) > 0 and self.network.described is not None

    def _begin_practice(self) -> None:
        """Learn from all that is kept how vectors are compared, and everything else anew with that."""
        self._practice = Practice(self.replay, self.network)
        self.ewc = Consolidation(self.config.ewc, self.identity.dimensions)
        self.ewc.grow(self.network.rows)
        self.settle()

    def end_practice(self) -> None:
        """No lesson is gone over again from here on."""
        if self._practice is not None:
            self._practice.end(self.replay, self.network)
            self._practice = None
            self.settle()

    def _measure(
        self, lesson: Lesson, scored: Scored, at: int, vector: Floats, order: Places
    ) -> None:
        """What the gate would have said, before it learns better."""
        self.track.see(vector)
        right = lesson.reward >= 0.5
        best = int(order[0])
        if right or best == at:
            self.track.judge(right and best == at)
        self.calibration.observe(scored.logits, at, right)
        if right and self.lessons % _FITTED == 0 and len(scored.places) > 1:
            first = order[: _LOOKED_AT + 1].tolist()
            self.scope.observe(*self._strengths(scored, at, vector, first))

    def _lose(self, share: float, reward: float) -> None:
        """What a lesson costs: see `losses`."""
        least = 1e-7
        cost = -reward * math.log(max(share, least))
        cost -= (1.0 - reward) * math.log(max(1.0 - share, least))
        self.loss = cost if self.loss is None else self.loss + (cost - self.loss) / 100

    def _again(self, example: Example, rival: int, step: Step) -> None:
        """Learn an example again, among its rivals and the expert of the lesson at hand."""
        example.meet(rival)
        cells = self.network.cells(example.features)
        logits = self.network.of_vector(example.rivals, example.vector)
        logits += self.network.of_features(example.rivals, cells)
        logits += example.said
        self.track.replay(example.place, int(logits.argmax()) == 0)
        slope = softmax(logits)
        slope[0] -= 1.0
        step.add(example.rivals, slope, example.vector, cells)

    def _take(self, step: Step) -> None:
        """Go down the gradients of a lesson and of what is learned again beside it, all at once."""
        rows = step.lay_out()
        if not len(rows):
            return
        learning = self.config.learning
        of_vectors = learning.vectors * self.rates.take(rows)[:, np.newaxis]
        gradients = step.gradients()
        by = of_vectors * gradients
        before = self.network.weights.take(rows, axis=0)
        after = before - by
        ewc = self.config.ewc
        if ewc.enabled:
            if self.ewc.points:
                after = self.ewc.held(rows, after, of_vectors)
                by = before - after
            self.ewc.moving(rows, by, gradients, step.squares(ewc.fisher_rate))
        self.network.moved(rows, after)
        if ewc.enabled and ewc.path:
            self.ewc.moved(self.network.weights)
        step.move_words(self.network, learning.words, self.rates)

    @property
    def trust(self) -> float:
        """What votes of patterns near by count, times their weight: 2 T², T the temperature, at most 2.

        With a map, so far as experts had many lessons: their prototypes say what the few that are near say.
        A gate that is surer than it is right has a high temperature, and what is near by knows more than it.
        One that has not learned its lessons to the end knows too little for that: there they count 1.
        """
        if not self.config.calibration:
            return 1.0
        of_temperature = 2.0 * min(self.calibration.temperature, 1.0) ** 2
        if self.network.metric.fitted:
            of_temperature *= evidence(self.lessons / max(len(self.taught), 1))
        again = min(self.practised / max(self.lessons, 1), 1.0)
        return again * of_temperature + 1.0 - again

    def consolidate(self) -> None:
        """Hold on to the weights as they are, in so far as they matter; a phase of learning is over."""
        self.ewc.consolidate(self.network.weights)
        self.active[:] = False

    def strength(
        self,
        scored: Scored,
        vector: Floats,
        nearest: Sequence[float] = (),
        order: Places | None = None,
    ) -> float:
        """How strong the best expert is: `Scope`'s u.

        `nearest` are the similarities of patterns near by; without them, the nearest of what is kept counts.
        `order` has the indices of the experts, best first, where it is known.
        """
        if nearest and self.config.replay.kind != "off":
            similarity = max(nearest)
            if not -1.0 <= similarity <= 1.0:
                similarity = min(max(*(finite(one, 0.0) for one in nearest), -1.0), 1.0)
        else:
            if order is None:
                order = np.negative(scored.logits).argsort(kind="stable")
            places = scored.places.take(order[:_LOOKED_AT]).tolist()
            similarity = max(self.replay.similarities(places, vector))
        return scored.logits.item(scored.logits.argmax()) + OF_SIMILARITY * similarity

    def _strengths(
        self, scored: Scored, at: int, vector: Floats, order: list[int]
    ) -> tuple[float, float]:
        """How strong the best expert is with the right one, and without it. `order`: the best, best first."""
        found = self.replay.similarities(scored.places.take(order).tolist(), vector)
        others = [one for one in order if one != at]
        of_others = [one for one, index in zip(found, order, strict=True) if index != at]
        inside = float(scored.logits[order[0]]) + OF_SIMILARITY * max(found[:_LOOKED_AT])
        outside = float(scored.logits[others[0]]) + OF_SIMILARITY * max(of_others[:_LOOKED_AT])
        return inside, outside
