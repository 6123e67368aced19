"""The gate itself: its parts put together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from flow_gates.evidence import Described, Texts, checked_query, checked_vector, shares
from flow_gates.lessons import checked_lesson
from flow_gates.measures import of_moe
from flow_gates.moe import kept
from flow_gates.moe.exploration import Exploration
from flow_gates.moe.learner import Learner
from flow_gates.moe.load import LoadBias
from flow_gates.moe.losses import softmax
from flow_gates.moe.settings import MoeConfig
from flowcore.routing import Choice, Expert, Gate, Identity, Lesson, Query, Ranking
from flowcore.telemetry import Reading

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


class MoeGates:
    """Makes gates of this type."""

    def __init__(self, config: MoeConfig) -> None:
        self._config = config

    def make(self, identity: Identity, seed: int) -> Gate:
        """A gate that has learned nothing."""
        return MoeGate(self._config, identity, seed)


class MoeGate:
    """A softmax gate over experts that come and go. Not for threads: one call at a time."""

    def __init__(self, config: MoeConfig, identity: Identity, seed: int) -> None:
        self._config = config
        self._identity = identity
        _, _, length = config.described.for_embedder(identity)
        self._texts = Texts()
        self._described = Described(identity.dimensions, self._texts, length)
        self._there: dict[str, Expert] = {}
        self._learner = Learner(config, identity, seed)
        self._exploration = Exploration(config.exploration, seed)
        self._load = LoadBias(config.load)
        self._votes: Floats = np.zeros(0, np.float32)
        """Shape (rows,): zeros, but while patterns vote."""
        self._allowed: tuple[Collection[str] | None, Floats] = (None, self._votes)
        """Who may be chosen, as it was last said, and what that adds to the logits of each row."""

    # ---- who is there

    def set_experts(self, experts: Sequence[Expert]) -> None:
        """Those there are now. Raises WrongVector and ValueError, and changes nothing then."""
        self._there = self._described.read(experts)
        self._learner.slots.arrive(self._there, self._learner.lessons)
        self._learner.forget_overdue()
        self._lay_out()

    def _lay_out(self) -> None:
        """Give every expert a row, with what it says of itself in it."""
        self._learner.make_room()
        network, places = self._learner.network, self._learner.slots.places
        self._load.grow(network.rows)
        self._votes = np.zeros(network.rows, np.float32)
        self._allowed = (None, self._votes)
        self._described.place(places, network.rows)
        there = [places[name] for name in self._there]
        network.describe(self._described, list(places.values()), there)

    # ---- ranking

    def rank(self, query: Query, k: int) -> Ranking:
        """The k best, their probabilities calibrated. Raises WrongVector, and ValueError for a k below 1.

        Reasons, in logits: `described` and `words`, what the expert says of itself; `gate`, what was learned;
        `nearest`, patterns near by; `load`, the bias against a busy one.
        """
        vector = checked_query(query, k, self._identity.dimensions)
        features = self._texts[query.text]
        places = self._learner.slots.places
        but = None if query.allowed is None else self._but(query.allowed)
        near = shares(query.near, places, self._config.nearest) if query.near else {}
        network = self._learner.network
        scored = network.score(vector, features, network.cells(features), but, also=near)
        if not len(scored.places):
            return Ranking(choices=(), known=0.0, threshold=0.5)
        logits, voted, names = scored.logits, None, self._learner.slots.names
        if near:
            voted = self._voted(near, scored.places)
            logits = logits + voted
        bias = None
        if self._config.load.enabled:
            bias = self._load.of(scored.places, names, query.load)
        worth = logits if bias is None else logits + bias
        best = order = np.negative(worth).argsort(kind="stable")
        explored, propensity = False, 1.0
        if self._config.exploration.enabled and query.explore and len(best) > 1:
            best, explored, propensity = self._tried(best, worth, scored.places, query.text)
        best = best[:k]
        shares_of = softmax(logits * (1.0 / self._learner.calibration.temperature))
        chosen = scored.places.take(best)
        described = network.of_said(chosen, vector)
        choices = [
            Choice(
                expert=names[place],
                probability=share,
                reasons={
                    "described": of_vector,
                    "words": said,
                    "gate": logit - of_vector - said,
                    "nearest": vote,
                    "load": load,
                },
            )
            for place, share, of_vector, said, logit, vote, load in zip(
                chosen.tolist(),
                shares_of.take(best).tolist(),
                described.tolist(),
                scored.said.take(chosen).tolist(),
                scored.logits.take(best).tolist(),
                _of(voted, best),
                _of(bias, best),
                strict=True,
            )
        ]
        there = self._there
        nearest = [one.similarity for one in query.near if one.expert in there]
        return Ranking(
            choices=tuple(choices),
            known=self._learner.scope.known(
                self._learner.strength(scored, vector, nearest, order if worth is logits else None)
            ),
            threshold=0.5,
            explored=explored,
            propensity=propensity,
        )

    def _but(self, allowed: Collection[str]) -> Floats:
        """Shape (rows,): 0 for those who may be chosen, minus infinity for all others."""
        if self._allowed[0] is not allowed:
            places = self._learner.slots.places
            but = np.full(self._learner.network.rows, -np.inf, np.float32)
            but[[places[name] for name in allowed if name in places]] = 0.0
            self._allowed = (allowed, but)
        return self._allowed[1]

    def _voted(self, near: Mapping[int, float], places: Places) -> Floats:
        """Shape (n,): what patterns near by add to the logits of experts on the shortlist."""
        rows = list(near)
        self._votes[rows] = list(near.values())
        voted = self._votes.take(places)
        voted *= np.float32(self._learner.trust * self._config.nearest.weight)
        self._votes[rows] = 0.0
        return voted

    def _tried(
        self, best: Places, worth: Floats, places: Places, text: str
    ) -> tuple[Places, bool, float]:
        """The order with the one to be tried first."""
        near_best = best[: self._config.exploration.among]
        rows = places[near_best].tolist()
        names = self._learner.slots.names
        at, propensity = self._exploration.choose(
            worth[near_best],
            [self._learner.taught.get(row, 0) for row in rows],
            [not self._there[names[row]].side_effects for row in rows],
            crc32(text.encode("utf-8", "surrogatepass")) ^ (self._learner.lessons << 32),
        )
        if at:
            best = np.concatenate([best[at : at + 1], best[:at], best[at + 1 :]])
        return best, at > 0, propensity

    # ---- learning

    def learn(self, lesson: Lesson) -> None:
        """Take in one outcome, and some earlier ones again. Raises WrongVector and WrongLesson.

        A weight above `learning.max_weight` counts as that.
        """
        vector = checked_vector(lesson.vector, self._identity.dimensions, "of the lesson")
        checked_lesson(lesson)
        slots = self._learner.slots
        if lesson.expert not in slots.places:
            self._learner.forget_overdue()
            place = slots.take(lesson.expert)
            if place >= self._learner.network.rows:
                self._lay_out()
            self._learner.network.open(place)
        if lesson.expert not in self._there:
            slots.gone[lesson.expert] = self._learner.lessons
        self._learner.learn(lesson, vector, self._texts[lesson.text])

    def consolidate(self) -> None:
        """Hold on to the weights as they are, in so far as they matter; a phase of learning is over."""
        self._learner.end_practice()
        self._learner.consolidate()

    # ---- what is kept and shown

    def snapshot(self) -> bytes:
        """Everything it has learned; not what it follows from rankings: load.

        It takes about 25 ms for 150 experts, and 250 ms for a thousand, that have learned. It only reads what
        no ranking changes: a thread may make it while the gate ranks, but not while it learns, consolidates
        or is told who is there.
        """
        return kept.taken(self._learner)

    def restore(self, data: bytes) -> None:
        """Be as when the snapshot was made. Raises DamagedState, and is unchanged, if it cannot."""
        kept.given(self._learner, data)
        self._learner.slots.arrive(self._there, self._learner.lessons)
        self._lay_out()

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_moe(self.status())

    def status(self) -> dict[str, Any]:
        """What it has learned, forgotten and found drifting; None for what cannot be told yet."""
        error = self._learner.calibration.error
        return {
            "type": "moe",
            "embedder": str(self._identity),
            "experts": len(self._there),
            "remembered": len(self._learner.slots.gone),
            "learns": True,
            "lessons": self._learner.lessons,
            "metric_fitted": self._learner.network.metric.fitted,
            "consolidations": self._learner.ewc.points,
            "replayable": len(self._learner.replay),
            **self._learner.track.status(),
            "loss": self._learner.loss,
            "temperature": round(self._learner.calibration.temperature, 4),
            "calibration_error": None if error is None else round(error, 4),
            "threshold": round(self._learner.scope.threshold, 4),
            "threshold_fitted": self._learner.scope.fitted,
            "tried": self._exploration.tried,
            "passed_over": self._load.count,
        }


def _of(parts: Floats | None, best: Places) -> list[float]:
    """What a part of the logits is for these; None where it is 0 for all."""
    return [0.0] * len(best) if parts is None else parts.take(best).tolist()
