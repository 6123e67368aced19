"""The engine of `similarity`: evidence added up, and made into probabilities by a softmax.

The score of an expert is what its vector and words have in common with the request's (`Described`) and the
share of nearby patterns that are its (`shares`), in logits; probabilities are the softmax of `sharpness`
times that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from flow_gates.evidence import Described, Texts, checked_query, checked_vector, shares
from flow_gates.lessons import checked_lesson
from flow_gates.measures import LESSONS
from flow_gates.sealing import sealed, unsealed
from flowcore.errors import DamagedState
from flowcore.routing import Choice, Expert, Gate, Identity, Lesson, Query, Ranking
from flowcore.telemetry import Reading

if TYPE_CHECKING:
    from flow_gates.settings import SimilarityConfig

_FORM = "flowcore similarity 1"


class SimilarityGates:
    """Makes gates of this type."""

    def __init__(self, config: SimilarityConfig) -> None:
        self._config = config

    def make(self, identity: Identity, seed: int) -> Gate:
        """A gate for the vectors of one embedder; nothing in it is left to chance."""
        del seed
        return SimilarityGate(self._config, identity)


class _Counts(msgspec.Struct, forbid_unknown_fields=True):
    """What a snapshot holds."""

    form: str
    embedder: str
    lessons: dict[str, int]
    right: dict[str, float]


class SimilarityGate:
    """Ranks by evidence that needs no learning."""

    def __init__(self, config: SimilarityConfig, identity: Identity) -> None:
        self._config = config
        self._identity = identity
        self._vectors, self._words, length = config.described.for_embedder(identity)
        self._texts = Texts()
        self._described = Described(identity.dimensions, self._texts, length)
        self._names: list[str] = []
        self._places: dict[str, int] = {}
        self._lessons: Counter[str] = Counter()
        self._right: dict[str, float] = {}

    def set_experts(self, experts: Sequence[Expert]) -> None:
        """Take their texts and vectors; raises WrongVector or ValueError, and then changes nothing."""
        self._names = list(self._described.read(experts))
        self._places = {name: place for place, name in enumerate(self._names)}
        self._described.place(self._places, len(self._names))

    def rank(self, query: Query, k: int) -> Ranking:
        """The k whose evidence is strongest. Raises WrongVector, and ValueError for a k below 1."""
        vector = checked_query(query, k, self._identity.dimensions)
        cosines = self._described.vectors @ vector
        words = self._described.words.scores(self._texts[query.text])
        near = shares(query.near, self._places, self._config.nearest)
        scores = self._vectors * cosines + self._words * words
        for place, share in near.items():
            scores[place] += self._config.nearest.weight * share
        if query.allowed is not None:
            allowed = [self._places[one] for one in query.allowed if one in self._places]
            shut = np.ones(len(scores), bool)
            shut[allowed] = False
            scores[shut] = cosines[shut] = words[shut] = -np.inf
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[np.isfinite(scores[best])]
        if not len(best):
            return Ranking(choices=(), known=0.0, threshold=self._config.threshold)
        shares_of = np.exp(self._config.sharpness * (scores - scores[best[0]]).astype(np.float64))
        probabilities = shares_of / shares_of.sum()
        choices = tuple(
            Choice(
                expert=self._names[place],
                probability=float(probabilities[place]),
                reasons={
                    "described": float(self._vectors * cosines[place]),
                    "words": float(self._words * words[place]),
                    "nearest": self._config.nearest.weight * near.get(int(place), 0.0),
                },
            )
            for place in best
        )
        known = max(
            float(cosines.max()),
            min(float(words.max()), 1.0),
            max((one.similarity for one in query.near if one.expert in self._places), default=0.0),
        )
        return Ranking(choices=choices, known=known, threshold=self._config.threshold)

    def learn(self, lesson: Lesson) -> None:
        """Count it. What it teaches reaches the ranking as a pattern that the router keeps.

        Raises WrongVector and WrongLesson.
        """
        checked_vector(lesson.vector, self._identity.dimensions, "of the lesson")
        checked_lesson(lesson)
        if lesson.again:
            return
        self._lessons[lesson.expert] += 1
        self._right[lesson.expert] = self._right.get(lesson.expert, 0.0) + lesson.reward

    def consolidate(self) -> None:
        """Nothing is learned here, and so nothing forgotten."""

    def snapshot(self) -> bytes:
        """The counts."""
        counts = _Counts(_FORM, str(self._identity), dict(self._lessons), self._right)
        return sealed(msgspec.msgpack.encode(counts, order="sorted"))

    def restore(self, data: bytes) -> None:
        """Take the counts of a snapshot. Raises DamagedState."""
        try:
            body = unsealed(data, "a similarity gate")
            counts = msgspec.msgpack.decode(body, type=_Counts)
        except msgspec.DecodeError as error:
            raise DamagedState(f"expected a snapshot of a similarity gate: {error}") from error
        if (counts.form, counts.embedder) != (_FORM, str(self._identity)):
            raise DamagedState(
                f"expected a snapshot of the form {_FORM!r} for {self._identity},"
                f" not {counts.form!r} for {counts.embedder}"
            )
        self._lessons, self._right = Counter(counts.lessons), counts.right

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        yield LESSONS.of(self._lessons.total())

    def status(self) -> dict[str, Any]:
        """How many experts and lessons there are; that nothing is learned from them here."""
        return {
            "type": "similarity",
            "embedder": str(self._identity),
            "experts": len(self._names),
            "learns": False,
            "lessons": self._lessons.total(),
            "right": round(sum(self._right.values()), 3),
        }
