"""Whether anybody is there for a request: how strong its best expert is, against a threshold that is fitted.

A request is scored by the greatest logit, and by the similarity of the nearest pattern (max-logit, Hendrycks
et al. 2022, with a nearest neighbour beside it, Sun et al. 2022):

    u = max z + 10 s.

Nobody says which requests are out of scope. But for each lesson there is one at hand: the same request with
its right expert hidden is one that nobody is there for. So each lesson, before the gate learns from it, gives
one u in scope and one out of scope; the last 256 of each are kept, and the threshold is the one that errs on
the fewest of both, but so that at most `miss` of those in scope are below it. What is reported is

    known = 1 / (1 + exp(-(u - threshold) / width)),

width a quarter of the distance between the medians of the two.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

OF_SIMILARITY = 10.0
"""What the similarity of the nearest pattern counts, in logits."""
KEPT = 256
_ENOUGH = 32
_OFTEN = 16


class Scope:
    """The threshold, and what it was fitted on."""

    def __init__(self, cold: float, miss: float) -> None:
        """`cold` is the threshold before it is fitted; at most `miss` of what is in scope is below it."""
        self._cold = cold
        self._miss = miss
        self.threshold = cold
        self.width = 1.0
        self.seen = 0
        self.inside: npt.NDArray[np.float64] = np.zeros(KEPT)
        self.outside: npt.NDArray[np.float64] = np.zeros(KEPT)

    @property
    def fitted(self) -> bool:
        """Whether the threshold was fitted, rather than set."""
        return self.threshold != self._cold

    def begin_anew(self) -> None:
        """What was seen counts no more, for the gate has learned it again; the threshold stays as it was."""
        self.seen = 0

    def observe(self, inside: float, outside: float) -> None:
        """A lesson not yet learned: its u, and its u with the right expert hidden."""
        self.inside[self.seen % KEPT] = inside
        self.outside[self.seen % KEPT] = outside
        self.seen += 1
        if self.seen >= _ENOUGH and self.seen % _OFTEN == 0:
            self._fit()

    def _fit(self) -> None:
        count = min(self.seen, KEPT)
        inside, outside = np.sort(self.inside[:count]), np.sort(self.outside[:count])
        cuts = np.concatenate([inside, outside])
        missed = np.searchsorted(inside, cuts, "left")
        taken = count - np.searchsorted(outside, cuts, "left")
        best = float(cuts[np.argmin(missed + taken)])
        self.threshold = min(best, float(inside[int(self._miss * count)]))
        apart = float(inside[count // 2] - outside[count // 2])
        self.width = max(apart / 4.0, 0.1)

    def known(self, strength: float) -> float:
        """How sure it is that somebody is there, 0 to 1; 0.5 at the threshold."""
        return 1.0 / (
            1.0 + math.exp(min(max((self.threshold - strength) / self.width, -50.0), 50.0))
        )
