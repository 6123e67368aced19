"""What is learned again beside new lessons, so that these do not wash away what was learned before.

Examples are kept for each expert by reservoir sampling (Vitter 1985): each of its lessons so far is in it
with the same probability. One is drawn by choosing an expert first, so that rare ones are kept up as well as
frequent ones (experience replay, balanced; Rolnick et al. 2019). Where prototypes are kept in their place,
none of what was asked is kept: a vector is drawn from the mean and deviation of an expert's lessons (as in
PASS, Zhu et al. 2021), and it has no words.

An example has its `rivals`, the experts that were on its shortlist, and is learned again among these and the
expert of the lesson at hand. That is what makes replay cheap: the other experts are not even looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np
import numpy.typing as npt

from flow_gates.moe.chance import Chance
from flow_gates.moe.network import Scored
from flow_gates.moe.settings import ReplaySettings
from flowcore.text import Features

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_RIVALS = 16
_SILENT = Features(np.empty(0, np.int32), np.empty(0, np.float32))


@attrs.define(eq=False)
class Example:
    """Something to be learned again."""

    place: int
    vector: Floats
    features: Features
    rivals: Places
    """Shape (n,), the expert's own row first."""
    said: Floats
    """Shape (n,): what their descriptions' words say, in logits."""

    def meet(self, rival: int) -> None:
        """Have another rival, in place of the last one if there are many."""
        if rival in self.rivals.tolist():
            return
        if len(self.rivals) < _RIVALS:
            self.rivals = np.append(self.rivals, rival)
            self.said = np.append(self.said, np.float32(0))
        else:
            # the first ones were the strongest when it came; the last third is for who comes later
            turn = _RIVALS - 1 - (rival % (_RIVALS // 3))
            self.rivals[turn], self.said[turn] = rival, 0.0


class Replay:
    """Examples of each expert, or its prototype."""

    def __init__(self, settings: ReplaySettings, chance: Chance) -> None:
        self.settings = settings
        self._chance = chance
        self.examples: dict[int, list[Example]] = {}
        """By the expert's row."""
        self.seen: dict[int, int] = {}
        """How many lessons were offered of each."""
        self.vectors: dict[int, Floats] = {}
        """The vectors of what is kept, a row for each; prototypes: their mean, of length one."""
        self.means: dict[int, Floats] = {}
        """Shape (2, dimensions): sums of values and of squares, for prototypes."""
        self._order: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def offer(
        self, place: int, vector: Floats, features: Features, scored: Scored, order: Places
    ) -> None:
        """A lesson that was right, to be kept or not. `order` has the indices of `scored`, best first."""
        settings = self.settings
        if settings.kind == "off":
            return
        seen = self.seen[place] = self.seen.get(place, 0) + 1
        if place not in self.examples:
            self.examples[place] = []
            self._order.append(place)
        kept = self.examples[place]
        if settings.kind == "prototypes":
            sums = self.means.setdefault(place, np.zeros((2, len(vector)), np.float32))
            sums[0] += vector
            sums[1] += vector * vector
            length = float(np.linalg.norm(sums[0]))
            self.vectors[place] = (sums[0] / np.float32(length or 1.0))[np.newaxis]
            kept[:] = [_example(place, vector, _SILENT, scored, order)]
            return
        most = min(settings.per_expert, max(1, settings.total // len(self._order)))
        while len(kept) > most:  # there are more experts now, and so less room for each
            kept.pop()
            self._count -= 1
        turn = len(kept) if len(kept) < most else self._chance.below(seen)
        if turn >= most:
            return
        example = _example(place, vector, features, scored, order)
        if turn == len(kept):
            kept.append(example)
            self._count += 1
        else:
            kept[turn] = example
        self._keep_vector(place, turn, vector)

    def _keep_vector(self, place: int, turn: int, vector: Floats) -> None:
        rows = self.vectors.get(place)
        if rows is None or len(rows) <= turn:
            more = np.zeros((max(4, 2 * turn), len(vector)), np.float32)
            if rows is not None:
                more[: len(rows)] = rows
            rows = self.vectors[place] = more
        rows[turn] = vector

    def similarities(self, places: Iterable[int], vector: Floats) -> list[float]:
        """For each of these experts the cosine of the nearest of what is kept of it; 0 if nothing is."""
        nearest = []
        for place in places:
            examples = self.examples.get(place)
            if examples:
                cosines = self.vectors[place][: len(examples)].dot(vector)
                nearest.append(max(cosines.item(cosines.argmax()), 0.0))
            else:
                nearest.append(0.0)
        return nearest

    def draw(self) -> Example | None:
        """One of them; None if there are none."""
        if not self._order:
            return None
        kept = self.examples[self._order[self._chance.below(len(self._order))]]
        example = kept[self._chance.below(len(kept))]
        if self.settings.kind == "prototypes":
            return self._imagined(example)
        return example

    def _imagined(self, example: Example) -> Example:
        """One that the prototype might have had."""
        sums, seen = self.means[example.place], self.seen[example.place]
        mean = sums[0] / seen
        deviation = np.sqrt(np.maximum(sums[1] / seen - mean * mean, 0.0))
        drawn = np.random.Generator(np.random.PCG64(self._chance.below(1 << 62)))
        vector = mean + deviation * drawn.standard_normal(len(mean), np.float32)
        vector /= max(float(np.linalg.norm(vector)), 1e-12)
        return attrs.evolve(example, vector=vector)

    def forget(self, place: int) -> None:
        """Keep nothing of an expert, neither as one to learn of nor as a rival."""
        gone = self.examples.pop(place, None)
        if gone is not None:
            self._order.remove(place)
            self._count -= len(gone) if self.settings.kind == "examples" else 0
        self.seen.pop(place, None)
        self.means.pop(place, None)
        self.vectors.pop(place, None)
        for kept in self.examples.values():
            for one in kept:
                there = one.rivals != place
                one.rivals, one.said = one.rivals[there], one.said[there]

    def restore(self, examples: dict[int, list[Example]], seen: dict[int, int]) -> None:
        """Take over what was kept, in the order in which experts came; prototypes' sums are given before."""
        self._order = list(examples)
        self.examples = examples
        self.seen = seen
        self.vectors = {}
        self._count = 0
        for place, kept in examples.items():
            if self.settings.kind == "prototypes":
                sums = self.means[place][0]
                self.vectors[place] = (sums / np.float32(np.linalg.norm(sums) or 1.0))[np.newaxis]
                continue
            self._count += len(kept)
            for turn, one in enumerate(kept):
                self._keep_vector(place, turn, one.vector)


def _example(
    place: int, vector: Floats, features: Features, scored: Scored, order: Places
) -> Example:
    best = [one for one in scored.places.take(order[:_RIVALS]).tolist() if one != place]
    rivals = np.array([place, *best[: _RIVALS - 1]], np.int64)
    return Example(
        place=place,
        vector=vector,
        features=features,
        rivals=rivals,
        said=scored.said.take(rivals),
    )
