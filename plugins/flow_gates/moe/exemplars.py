"""First lessons as examples: whom a request is like, while the gate has hardly learned of it.

After n lessons that were right, with the vectors x[i], an expert's mean is that of what it says of itself and
of these,

    m = (C + sum of x[i]) / (n + 1),

and what is added to its logit for the vector x of a query

    3 c (k / (k + n))^2 (m . x - |m|^2 / 2):

up to a factor how much likelier x is around m than around nothing, 0, where all spread alike (the nearest mean
of prototypical networks, Snell et al. 2017). An expert without lessons has none of it, and it fades: gradient
descent needs some dozens of lessons to know an expert better than their mean does. It counts for choosing, and
lessons are learned as if it were not there, as with patterns near by: two that judge in different ways are
right more often than one that is fitted to the other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]

_FACTOR = 3.0
"""What a mean counts at first beside what experts say of themselves."""
_FADED = 0.01
"""What is less than this part of what it was at first is nothing."""


class Exemplars:
    """The first lessons of each row."""

    def __init__(self, dimensions: int, fades: float, factor: float) -> None:
        """`fades` is k, 0 to do without; `factor` is c."""
        self._fades = fades
        self._factor = _FACTOR * factor
        self._most = int(fades * (_FADED**-0.5 - 1.0)) if factor else 0
        """Lessons of a row that are looked at."""
        self.sums: Floats = np.zeros((0, dimensions), np.float32)
        self.counts: Counts = np.zeros(0, np.int32)
        """Shape (rows,): n."""

    def grow(self, rows: int) -> None:
        """Make room for as many rows."""
        more = rows - len(self.counts)
        self.sums = np.concatenate([self.sums, np.zeros((more, self.sums.shape[1]), np.float32)])
        self.counts = np.concatenate([self.counts, np.zeros(more, np.int32)])

    def add(self, place: int, vector: Floats) -> bool:
        """A lesson that was right; whether it changes anything."""
        count = int(self.counts[place])
        if count >= self._most:
            return False
        self.counts[place] = count + 1
        self.sums[place] += vector
        return True

    def parts(self, places: Places | slice, said: Floats) -> tuple[Floats, Floats]:
        """What is multiplied with a query's vector, shape (n, dimensions), and what is added, shape (n,).

        `said` has C for these rows.
        """
        counts = self.counts[places].astype(np.float32)
        means = (said + self.sums[places]) / (1.0 + counts)[:, np.newaxis]
        lasting = (counts > 0) & (counts < self._most)
        factors = np.where(lasting, self._factor * (self._fades / (self._fades + counts)) ** 2, 0.0)
        squares = np.einsum("ij,ij->i", means, means)
        rows: Floats = means * factors.astype(np.float32)[:, np.newaxis]
        return rows, (-0.5 * factors * squares).astype(np.float32)

    def forget(self, place: int) -> None:
        """Know nothing of a row."""
        self.sums[place] = 0.0
        self.counts[place] = 0

    def restore(self, sums: Floats, counts: Counts) -> None:
        """As they were."""
        self.sums, self.counts = sums, counts
