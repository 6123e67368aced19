"""What experts say of themselves, as rows of a matrix: the mean of their texts' vectors, and their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from flow_gates.evidence.checked import checked_expert
from flow_gates.evidence.texts import Texts
from flow_gates.evidence.words import WordIndex, bag
from flowcore.routing import Expert, give_way
from flowcore.text import Features

Floats = npt.NDArray[np.float32]

_SILENT = Features(np.empty(0, np.int32), np.empty(0, np.float32))


@attrs.frozen(eq=False)
class _Said:
    """What one expert says of itself."""

    expert: Expert
    vector: Floats
    bag: Features
    said: int
    """How many features its texts have."""


class Described:
    """The experts there are now, in rows that their places choose.

    `vectors` has shape (rows, dimensions): the mean of the vectors of an expert's texts, scaled to length
    one; zeros where there is no expert. What was made of an expert's texts is kept while it stays the same.
    """

    def __init__(self, dimensions: int, texts: Texts, length: float) -> None:
        """`length`: how far the length of what experts say counts, as `WordIndex` has it."""
        self.dimensions = dimensions
        self._length = length
        self.vectors: Floats = np.zeros((0, dimensions), np.float32)
        self.words = WordIndex(())
        self._texts = texts
        self._said: dict[str, _Said] = {}

    def read(self, experts: Sequence[Expert]) -> dict[str, Expert]:
        """Experts by name, their texts turned into features where they are new.

        Raises WrongVector, and ValueError for a name that comes twice; then nothing is changed.
        """
        said: dict[str, _Said] = {}
        for expert in experts:
            if expert.name in said:
                raise ValueError(f"expected each expert once, not {expert.name!r} twice")
            known = self._said.get(expert.name)
            if known is not None and known.expert is expert:
                said[expert.name] = known
            elif known is not None and _same(known.expert, expert):
                said[expert.name] = attrs.evolve(known, expert=expert)
            else:
                vectors = checked_expert(expert, self.dimensions)
                mean = vectors.sum(axis=0)
                length = float(np.linalg.norm(mean))
                parts = [self._texts[text] for text in expert.texts]
                features = sum(len(part.buckets) for part in parts)
                said[expert.name] = _Said(expert, mean / (length or 1.0), bag(parts), features)
                give_way()
        self._said = said
        return {name: one.expert for name, one in said.items()}

    def place(self, places: Mapping[str, int], rows: int) -> None:
        """Lay the experts that were read into rows, each into its place."""
        self.vectors = np.zeros((rows, self.dimensions), np.float32)
        bags, said = [_SILENT] * rows, [0] * rows
        for name, one in self._said.items():
            place = places[name]
            self.vectors[place] = one.vector
            bags[place], said[place] = one.bag, one.said
        self.words = WordIndex(bags, said, self._length)


def _same(one: Expert, other: Expert) -> bool:
    return one.texts == other.texts and np.array_equal(one.vectors, other.vectors, equal_nan=False)
