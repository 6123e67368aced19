"""What the gate has learned, and how it learns: its parts that a snapshot keeps, put together."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from flow_gates.evidence import finite
from flow_gates.moe.calibration import Calibration
from flow_gates.moe.chance import Chance
from flow_gates.moe.ewc import Consolidation
from flow_gates.moe.losses import gradient, softmax
from flow_gates.moe.network import Network, Scored
from flow_gates.moe.replay import Example, Replay
from flow_gates.moe.scope import OF_SIMILARITY, Scope
from flow_gates.moe.settings import MoeConfig
from flow_gates.moe.slots import Slots
from flow_gates.moe.track import Track
from flowcore.routing import Identity, Lesson
from flowcore.text import Features

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_STILL = 1e-2
"""A row whose logit has a gradient below this stays as it is."""
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
        self.active: set[int] = set()
        """Rows of the experts that had lessons since the last consolidation."""
        self.lessons = 0
        self.taught: dict[int, int] = {}
        """How many lessons each row had."""
        self.rates: Floats = np.ones(0, np.float32)
        """Shape (rows,): the part of the first learning rates that each row has."""
        told = repr((config.replay.kind, seed))
        self.form = blake2b(told.encode(), digest_size=8).hexdigest()
        """A hash of what a snapshot depends on besides the embedder."""

    def make_room(self) -> None:
        """Have rows for all slots."""
        before = self.network.rows
        self.network.grow(len(self.slots.names))
        if self.network.rows > before:
            self.ewc.grow(self.network.rows)
            self.settle()

    def _settle(self, place: int) -> None:
        """The part of the first learning rates that a row has by now."""
        learning = self.config.learning
        slower = (1.0 + self.taught.get(place, 0) / learning.settles) ** -0.5
        self.rates[place] = max(slower, learning.slowest)

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
        self.active.discard(place)
        self.taught.pop(place, None)
        self._settle(place)
        self.track.replayed.pop(place, None)

    def learn(self, lesson: Lesson, vector: Floats, features: Features) -> None:
        """Take in one outcome of an expert that has a row, and some earlier ones again."""
        place = self.slots.places[lesson.expert]
        self.lessons += 1
        self.taught[place] = self.taught.get(place, 0) + 1
        self._settle(place)
        scored = self.network.score(vector, features, anyway=place)
        at = int(np.flatnonzero(scored.places == place)[0])
        self._measure(lesson, scored, at, vector)
        weight = min(lesson.weight / lesson.propensity, self.config.learning.max_weight)
        slope = gradient(softmax(scored.logits), at, lesson.reward, lesson.exclusive)
        slope *= np.float32(weight)
        self.active.add(place)
        if self.ewc.points:
            idle = [one not in self.active for one in scored.places.tolist()]
            slope[idle] *= np.float32(self.config.learning.others)
        self._move(scored.places, slope, vector, features)
        for _ in range(self.config.replay.samples):
            example = self.replay.draw()
            if example is not None:
                self._again(example, place)
        if lesson.reward >= 0.5 and weight > 0:
            self.replay.offer(place, vector, features, scored)
        if self.config.ewc.enabled:
            self.ewc.passed(self.network.weights)
        every = self.config.ewc.every
        if every and self.lessons % every == 0:
            self.consolidate()

    def _measure(self, lesson: Lesson, scored: Scored, at: int, vector: Floats) -> None:
        """What the gate would have said, before it learns better."""
        self.track.see(vector)
        right = lesson.reward >= 0.5
        best = int(scored.logits.argmax())
        if right or best == at:
            self.track.judge(right and best == at)
        self.calibration.observe(scored.logits, at, right)
        if right and self.lessons % _FITTED == 0 and len(scored.places) > 1:
            place = int(scored.places[at])
            self.scope.observe(
                self.strength(scored, vector), self.strength(scored, vector, but=place)
            )

    def _again(self, example: Example, rival: int) -> None:
        """Learn an example again, among its rivals and the expert of the lesson at hand."""
        example.meet(rival)
        logits = (
            self.network.of_vector(example.rivals, example.vector)
            + self.network.of_features(example.rivals, example.features)
            + example.said
        )
        self.track.replay(example.place, int(logits.argmax()) == 0)
        slope = softmax(logits)
        slope[0] -= 1.0
        self._move(example.rivals, slope, example.vector, example.features)

    def _move(self, places: Places, slope: Floats, vector: Floats, features: Features) -> None:
        """Go down the gradient, whose slope in the logits is given."""
        moving = np.abs(slope) > _STILL
        rows, slope = places[moving], slope[moving]
        if not len(rows):
            return
        learning = self.config.learning
        rates = self.rates.take(rows)
        of_vectors = (np.float32(learning.vectors) * rates)[:, np.newaxis]
        gradients = slope[:, np.newaxis] * vector
        by = -of_vectors * gradients
        before = self.network.weights.take(rows, axis=0)
        after = before + by
        if self.config.ewc.enabled:
            if self.ewc.points:
                after = self.ewc.held(rows, after, of_vectors)
                by = after - before
            self.ewc.moved(rows, gradients, by)
        self.network.moved(rows, after)
        self.network.move_words(rows, np.float32(-learning.words) * rates * slope, features)

    def consolidate(self) -> None:
        """Hold on to the weights as they are, in so far as they matter; a phase of learning is over."""
        self.ewc.consolidate(self.network.weights)
        self.active.clear()

    def strength(
        self, scored: Scored, vector: Floats, nearest: Iterable[float] = (), but: int = -1
    ) -> float:
        """How strong the best expert is: `Scope`'s u. `but` is a row that is left out.

        `nearest` are the similarities of patterns near by; without them, the nearest of what is kept counts.
        """
        logits = scored.logits
        if but >= 0:
            logits = np.where(scored.places == but, -np.inf, logits)
        found = [finite(one, 0.0) for one in nearest]
        if found and self.config.replay.kind != "off":
            similarity = min(max(*found, -1.0), 1.0)
        else:
            count = min(_LOOKED_AT, len(logits))
            top = np.argpartition(-logits, count - 1)[:count]
            similarity = self.replay.similarity(
                (place for place in scored.places[top].tolist() if place != but), vector
            )
        return float(logits.max()) + OF_SIMILARITY * similarity
