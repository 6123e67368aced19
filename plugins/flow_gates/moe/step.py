"""One step of learning: the gradients of a lesson and of what is learned again beside it, gone down at once.

In the logits of example j the gradient is a slope for each expert, next to zero for all but a few. In W it is
for expert i

    G[i] = sum over j of S[i, j] x[j],

S the slopes and x[j] the vector of example j: one product of two small matrices for all rows that move.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow_gates.moe.network import Network
from flowcore.text import Features

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_STILL = 2e-2
"""A row whose logit has a gradient below this stays as it is."""


class Step:
    """Examples, and the rows that they move. Add all examples, then `lay_out`, then ask."""

    def __init__(self) -> None:
        self._parts: list[tuple[Places, Floats, Floats, Features]] = []
        self._indices: list[list[int]] = []
        self.slopes: Floats = np.zeros((0, 0), np.float32)
        """S: shape (rows, examples)."""
        self._vectors: Floats = self.slopes

    def add(self, places: Places, slope: Floats, vector: Floats, features: Features) -> None:
        """An example, and the slope in the logits of these places."""
        moving = (np.abs(slope) > _STILL).nonzero()[0]
        if len(moving):
            self._parts.append((places.take(moving), slope.take(moving), vector, features))

    def lay_out(self) -> Places:
        """Shape (n,): the rows that move, each once."""
        found: dict[int, int] = {}
        self._indices = [
            [found.setdefault(row, len(found)) for row in rows.tolist()] for rows, *_ in self._parts
        ]
        self.slopes = np.zeros((len(found), len(self._parts)), np.float32)
        for number, (indices, part) in enumerate(zip(self._indices, self._parts, strict=True)):
            self.slopes[indices, number] = part[1]
        self._vectors = np.array([vector for _, _, vector, _ in self._parts], np.float32)
        return np.fromiter(found, np.int64, len(found))

    def gradients(self) -> Floats:
        """G: shape (n, dimensions)."""
        product: Floats = self.slopes @ self._vectors
        return product

    def squares(self) -> Floats:
        """Shape (n, dimensions): the squares of each example's own gradient, added up."""
        product: Floats = (self.slopes * self.slopes) @ (self._vectors * self._vectors)
        return product

    def move_words(self, network: Network, rates: Floats) -> None:
        """Go down the gradient in U. `rates` has the learning rate of each row, shape (n, 1)."""
        by = self.slopes * -rates
        network.move_words(
            (rows, by[indices, number], features)
            for number, (indices, (rows, _, _, features)) in enumerate(
                zip(self._indices, self._parts, strict=True)
            )
        )
