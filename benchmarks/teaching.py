"""Gates as the routing benchmarks use them: by their defaults, taught and judged as a router does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from benchmarks.datasets import Labelled, Vectorised
from flow_gates.moe.gate import MoeGates
from flow_gates.moe.settings import MoeConfig
from flowcore.routing import Gate, Lesson, Near, Query, Ranking, RouterSettings
from flowcore.routing.practice import practice

if TYPE_CHECKING:
    from flowcore.routing import Vectors

NEAR = 16
SEED = 1
Votes = Sequence[Sequence[Near]]


@attrs.frozen(kw_only=True)
class Judged:
    """How a gate did, in per cent."""

    first: float
    """How often the first choice was right."""
    among: float
    """How often the right one was among the first eight."""
    off: float
    """The expected calibration error, in points."""
    known: list[float]
    """How sure it was, for each, that anybody is there."""


def new_gate(
    embedder: Vectorised, said: dict[str, tuple[str, ...]], config: MoeConfig | None = None
) -> Gate:
    """A gate that has learned nothing, for these experts."""
    gate = MoeGates(config or MoeConfig()).make(embedder.identity, SEED)
    gate.set_experts(embedder.experts(said))
    return gate


def teach(gate: Gate, lessons: Labelled, vectors: Vectors, seed: int = 0) -> None:
    """Tell it each lesson once, in an order drawn by chance."""
    order = np.random.default_rng(seed).permutation(len(lessons.texts))
    for row in order.tolist():
        gate.learn(
            Lesson(
                text=lessons.texts[row], vector=vectors[row], expert=lessons.right[row], reward=1.0
            )
        )


def train(gate: Gate, lessons: Labelled, vectors: Vectors) -> None:
    """Have it learn lessons as a node does that trains its gate anew on them, in the order they came in."""
    for order, again in practice(len(lessons.texts), RouterSettings().practice, SEED):
        for row in order:
            gate.learn(
                Lesson(
                    text=lessons.texts[row],
                    vector=vectors[row],
                    expert=lessons.right[row],
                    reward=1.0,
                    again=again,
                )
            )
    gate.consolidate()


def nearest(lessons: Labelled, vectors: Vectors, asked: Vectors) -> list[list[Near]]:
    """The patterns nearest to each query, as a store of all lessons would find them."""
    found: list[list[Near]] = []
    most = min(NEAR, len(vectors))
    for at in range(0, len(asked), 256):
        cosines = asked[at : at + 256] @ vectors.T
        best = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        for row, places in zip(cosines, best, strict=True):
            ordered = places[np.argsort(-row[places])].tolist()
            found.append(
                [
                    Near(id=place, expert=lessons.right[place], similarity=float(row[place]))
                    for place in ordered
                ]
            )
    return found


def asked(text: str, vector: Vectors, near: Sequence[Near] = ()) -> Query:
    """A query of somebody who wants the best, not the unknown."""
    return Query(text=text, vector=vector, near=near, explore=False)


def rankings(
    gate: Gate, texts: Sequence[str], vectors: Vectors, near: Votes | None = None, k: int = 8
) -> list[Ranking]:
    """What a gate says to each of them."""
    votes = near or [()] * len(texts)
    return [
        gate.rank(asked(text, vector, one), k)
        for text, vector, one in zip(texts, vectors, votes, strict=True)
    ]


def judge(gate: Gate, test: Labelled, vectors: Vectors, near: Votes | None = None) -> Judged:
    """How often a gate is right."""
    ranked = rankings(gate, test.texts, vectors, near)
    first, among, sure = [], [], []
    for ranking, right in zip(ranked, test.right, strict=True):
        chosen = [choice.expert for choice in ranking.choices]
        first.append(chosen[:1] == [right])
        among.append(right in chosen)
        sure.append(ranking.choices[0].probability if ranking.choices else 0.0)
    return Judged(
        first=100 * float(np.mean(first)),
        among=100 * float(np.mean(among)),
        off=100 * _calibration_error(np.array(sure), np.array(first, float)),
        known=[ranking.known for ranking in ranked],
    )


def _calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Of ten bins of probability: how far each is from how often it was right, weighed by its size."""
    bins = np.minimum((sure * 10).astype(int), 9)
    return sum(
        abs(float(sure[bins == one].mean() - right[bins == one].mean()))
        * float(np.mean(bins == one))
        for one in np.unique(bins)
    )


def auroc(inside: Sequence[float], outside: Sequence[float]) -> float:
    """In per cent, how often one of `inside` is greater than one of `outside`; ties count half."""
    low = np.sort(np.asarray(outside))
    ends = [np.searchsorted(low, inside, side) for side in ("left", "right")]
    return 100 * float(np.mean(ends)) / len(low)
