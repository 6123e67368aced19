"""First lessons as examples: whom a request is like, while the gate has hardly learned of it.

After n lessons that were right, with the vectors x[i], an expert's mean is that of what it says of itself and
of these,

    m = (C + sum of x[i]) / (n + 1),

and what is added to its logit for the vector x of a query

    3 c (k / (k + n))^2 (m . x - |m|^2 / 2):

up to a factor how much likelier x is around m than around nothing, 0, where all spread alike (the nearest
mean of prototypical networks, Snell et al. 2017). An expert without lessons has none of it, and it fades:
gradient descent needs some dozens of lessons to know an expert better than their mean does. It counts for
choosing, and lessons are learned as if it were not there, as with patterns near by: two that judge in
different ways are right more often than one that is fitted to the other.
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

    def part(self, place: int, said: Floats) -> tuple[Floats, float]:
        """What is multiplied with a query's vector, shape (dimensions,), and what is added; `said` is C."""
        count = int(self.counts[place])
        if not 0 < count < self._most:
            return np.zeros_like(said), 0.0
        factor = self._factor * (self._fades / (self._fades + count)) ** 2
        mean = said + self.sums[place]
        mean *= np.float32(1.0 / (1.0 + count))
        offset = -0.5 * factor * float(mean.dot(mean))
        mean *= np.float32(factor)
        return mean, offset

    def forget(self, place: int) -> None:
        """Know nothing of a row."""
        self.sums[place] = 0.0
        self.counts[place] = 0

    def restore(self, sums: Floats, counts: Counts) -> None:
        """As they were."""
        self.sums, self.counts = sums, counts
