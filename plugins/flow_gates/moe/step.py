"""One step of learning: the gradients of a lesson and of what is learned again beside it, gone down at once.

In the logits of example j the gradient is a slope for each expert, next to zero for all but a few. In W it is
for expert i

    G[i] = sum over j of S[i, j] x[j],

S the slopes and x[j] the vector of example j: one product of two small matrices for all rows that move.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow_gates.moe.network import Cells, Network

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_STILL = 2e-2
"""A row whose logit has a gradient below this stays as it is."""
_NONE: Floats = np.zeros((0, 0), np.float32)
_NO_ROWS: Places = np.zeros(0, np.int64)


class Step:
    """Examples, and the rows that they move. Add all examples, then `lay_out`, then ask."""

    def __init__(self) -> None:
        self._places: list[Places] = []
        self._slopes: list[Floats] = []
        self._given: list[Floats] = []
        self._cells: list[Cells] = []
        self.slopes = _NONE
        """S: shape (rows, examples)."""
        self._vectors = _NONE
        self._moving = _NO_ROWS
        """The rows that move, example after example."""
        self._steep = _NONE
        """By how steep a slope each of these moves, shape (n,)."""
        self._by: list[Cells] = []
        """For the words of which example."""

    def add(self, places: Places, slope: Floats, vector: Floats, cells: Cells) -> None:
        """An example, and the slope in the logits of these places."""
        self._places.append(places)
        self._slopes.append(slope)
        self._given.append(vector)
        self._cells.append(cells)

    def lay_out(self) -> Places:
        """Shape (n,): the rows that move, each once."""
        slopes = np.concatenate(self._slopes)
        moving = (np.abs(slopes) > _STILL).nonzero()[0]
        self._moving = np.concatenate(self._places).take(moving)
        self._steep = slopes.take(moving)
        count = len(self._given)
        found: dict[int, int] = {}
        filled = []
        number, end = 0, len(self._slopes[0])
        for at, row in zip(moving.tolist(), self._moving.tolist(), strict=True):
            while at >= end:
                number += 1
                end += len(self._slopes[number])
            filled.append(found.setdefault(row, len(found)) * count + number)
            self._by.append(self._cells[number])
        self.slopes = np.zeros((len(found), count), np.float32)
        self.slopes.put(filled, self._steep)
        self._vectors = np.concatenate(self._given).reshape(count, -1)
        return np.array([*found], np.int64)

    def gradients(self) -> Floats:
        """G: shape (n, dimensions)."""
        product: Floats = self.slopes.dot(self._vectors)
        return product

    def squares(self, scale: float) -> Floats:
        """Shape (n, dimensions): the squares of each example's own gradient, added up, times a scale."""
        steep = self.slopes * self.slopes
        steep *= np.float32(scale)
        product: Floats = steep.dot(self._vectors * self._vectors)
        return product

    def move_words(self, network: Network, rate: float, rates: Floats) -> None:
        """Go down the gradient in U, at a rate, of which `rates` has the part for each row of the gate."""
        by = rates.take(self._moving)
        by *= self._steep
        by *= -rate
        network.move_words(self._moving, by, self._by)
