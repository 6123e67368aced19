"""One step of learning: the gradients of a lesson and of what is learned again beside it, gone down at once.

In the logits of example j the gradient is a slope for each expert, next to zero for all but a few. In W it is
for expert i

    G[i] = sum over j of S[i, j] x[j],

S the slopes and x[j] the vector of example j: one product of two small matrices for all rows that move.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from flow_gates.moe.network import Cells, Network

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_STILL = 2e-2
"""A row whose logit has a gradient below this stays as it is."""


class Step:
    """Examples, and the rows that they move. Add all examples, then `lay_out`, then ask."""

    def __init__(self) -> None:
        self._places: list[Places] = []
        self._slopes: list[Floats] = []
        self._given: list[Floats] = []
        self._cells: list[Cells] = []
        self.slopes: Floats = np.zeros((0, 0), np.float32)
        """S: shape (rows, examples)."""
        self._vectors: Floats = self.slopes
        self._moving: tuple[Places, Floats] = (np.zeros(0, np.int64), self.slopes)
        """The rows that move, example after example, and by how steep a slope."""
        self._ends: list[int] = []
        """Where in these each example ends."""

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
        rows, slopes = np.concatenate(self._places).take(moving), slopes.take(moving)
        self._moving = rows, slopes
        count = len(self._given)
        found: dict[int, int] = {}
        cells, every, which = [], rows.tolist(), moving.tolist()
        at = start = 0
        for number, of_one in enumerate(self._slopes):
            start += len(of_one)
            end = bisect_left(which, start, at)
            cells += [found.setdefault(row, len(found)) * count + number for row in every[at:end]]
            self._ends.append(end)
            at = end
        self.slopes = np.zeros((len(found), count), np.float32)
        self.slopes.reshape(-1)[cells] = slopes
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
        rows, slopes = self._moving
        by = rates.take(rows)
        by *= slopes
        by *= np.float32(-rate)
        network.move_words(
            (rows[at:end], by[at:end], cells)
            for cells, at, end in zip(self._cells, [0, *self._ends], self._ends, strict=False)
            if end > at
        )
