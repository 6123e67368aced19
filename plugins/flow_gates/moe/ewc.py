"""EWC++: weights that matter for what is known hold on to their values (Chaudhry et al., "Riemannian Walk for
Incremental Learning: Understanding Forgetting and Intransigence", ECCV 2018).

For each weight w of W three things are kept, and one for each point where learning was consolidated:

    F   running Fisher information (section 4.1):  F <- (1 - alpha) F + alpha g^2,  g the gradient of a lesson
    s   score of the path (section 4.2), summed over intervals of some moves of its row:
            s <- s + max(0, sum over the interval of - g dw) / (1/2 F (change of w over the interval)^2 + e)
        how much the loss fell by moving w, for each unit of distance as the Fisher metric measures it
    w*  its value at the last consolidation, and its importance there:  I = F~ + s~

After a consolidation lessons descend on  loss + lambda sum of I (w - w*)^2  (section 4.3), and s is halved,
so that scores of earlier phases count less with each (section 4.2).

It differs from the paper in these points:

- F~ and s~ are F and s over the root of their mean square, cut at 3, so that lambda means the same for any
  number of experts, dimensions and lessons; the paper scales both to [0, 1] by the greatest of all.
- F of an expert's row runs over the lessons that move the row, not over all lessons: rows of experts that
  are not asked for are not forgotten for that.
- Where several examples move a row at once, g^2 is the sum of the squares of their gradients.
- Intervals are counted for each row, in how often it moved: rows that are often asked for have more of them.
- The penalty is not added to the gradient but taken as a proximal step,
      w <- (w' + r I w*) / (1 + r I),   w' the plain step, r = 2 x learning rate x lambda,
  which is the same for small r and stable for a large one. Rows that a lesson does not move stay.
- The gate is linear in W, and alpha 0.01 serves better than the paper's 0.9, as lessons come one by one.

It holds for W, the weights of vectors; the weights of words are left to replay and the labels trick.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow_gates.moe.settings import EwcSettings

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_SMALL = 1e-8
_MOST = 3.0
_TOGETHER = 16
"""Rows that are scored at once."""
ARRAYS = ("fisher", "fell", "importance", "pulled", "score", "start")


class Consolidation:
    """What holds weights back. All arrays have the shape of W.

    Two of those that each lesson reads and writes lie together, and the two that hold back, so that a few
    rows are fetched and put back at once.
    """

    def __init__(self, settings: EwcSettings, dimensions: int) -> None:
        self.settings = settings
        self._dimensions = dimensions
        self._running: Floats = np.zeros((0, 2, dimensions), np.float32)
        self._holding: Floats = np.zeros((0, 2, dimensions), np.float32)
        self.score: Floats = np.zeros((0, dimensions), np.float32)
        self.start: Floats = np.zeros((0, dimensions), np.float32)
        """The weights at the beginning of the interval."""
        self.points = 0
        """How often it was consolidated."""
        self.moves: list[int] = []
        """How often each row moved in its interval so far."""
        self._over: list[int] = []
        """Rows whose interval is over."""

    @property
    def fisher(self) -> Floats:
        """F."""
        return self._running[:, 0]

    @property
    def fell(self) -> Floats:
        """How much the loss fell by moving each weight, in the interval so far."""
        return self._running[:, 1]

    @property
    def importance(self) -> Floats:
        """I."""
        return self._holding[:, 0]

    @property
    def pulled(self) -> Floats:
        """I w*: where the weights are pulled to, as strongly as they are."""
        return self._holding[:, 1]

    def grow(self, rows: int) -> None:
        """Make room for as many rows."""
        self.moves += [0] * (rows - len(self.moves))
        for name in ("_running", "_holding", "score", "start"):
            array = getattr(self, name)
            grown = np.full(
                (rows, *array.shape[1:]), 0, array.dtype
            )  # written to: see `Network.grow`
            grown[: len(array)] = array
            setattr(self, name, grown)

    def held(self, places: Places, plain: Floats, rates: Floats) -> Floats:
        """The rows after a plain step, held back to where they were at the last consolidation: there was one.

        `rates` has the learning rate of each, shape (n, 1).
        """
        pull = self._holding.take(places, axis=0)
        pull *= (np.float32(2.0 * self.settings.strength) * rates)[:, np.newaxis]
        rows: Floats = (plain + pull[:, 1]) / (1.0 + pull[:, 0])
        return rows

    def moving(self, places: Places, by: Floats, gradients: Floats, squares: Floats) -> None:
        """Rows are about to be less `by`, for examples with these gradients in sum.

        `squares` are the squares of each example's gradient, in sum, times alpha. All have the shape
        (n, dimensions).
        """
        if self.settings.path:
            moves, interval = self.moves, self.settings.interval
            for place in places.tolist():
                moves[place] += 1
                if moves[place] == interval:
                    self._over.append(place)
        running = self._running.take(places, axis=0)
        fisher = running[:, 0]
        fisher *= np.float32(1.0 - self.settings.fisher_rate)
        fisher += squares
        if self.settings.path:
            running[:, 1] += gradients * by
        self._running[places] = running

    def moved(self, weights: Floats) -> None:
        """Rows have moved, and these are the weights now: score the stretches of those that have come far.

        A few at a time: each alone would take as long, and all together would hold up everybody.
        """
        if len(self._over) >= _TOGETHER:
            self._arrive(self._over, weights)

    def _arrive(self, places: list[int], weights: Floats) -> None:
        """Score the stretch of the path from the last point to here."""
        here = weights[places]
        far = here - self.start[places]
        running = self._running[places]
        length = 0.5 * running[:, 0] * far * far + _SMALL
        self.score[places] += np.maximum(running[:, 1], 0.0) / length
        self._running[places, 1] = 0.0
        self.start[places] = here
        for place in places:
            self.moves[place] = 0
        self._over = []

    def consolidate(self, weights: Floats) -> None:
        """From here on, hold on to these weights."""
        places = [place for place, moves in enumerate(self.moves) if moves]
        if places:
            self._arrive(places, weights)
        self.points += 1
        importance = _even(self.fisher)
        if self.settings.path:
            importance += _even(self.score)
        self._holding[:, 0] = importance
        self._holding[:, 1] = importance * weights
        self.score *= 0.5

    def forget(self, place: int) -> None:
        """Hold on to nothing of a row."""
        for array in (self._running, self._holding, self.score, self.start):
            array[place] = 0
        self.moves[place] = 0
        self._over = [one for one in self._over if one != place]

    def restore(self, arrays: dict[str, Floats], points: int, moves: list[int]) -> None:
        """As it was."""
        self._running = np.stack([arrays["fisher"], arrays["fell"]], axis=1)
        self._holding = np.stack([arrays["importance"], arrays["pulled"]], axis=1)
        self.score, self.start, self.moves = arrays["score"], arrays["start"], moves
        self.points = points
        self._over = [place for place, one in enumerate(moves) if one >= self.settings.interval]


def _even(values: Floats) -> Floats:
    """Values on a scale that does not depend on what they measure: 1 is usual, 3 the most."""
    used = values[values.any(axis=1)]
    usual = float(np.sqrt(np.mean(used * used, dtype=np.float64))) if len(used) else 0.0
    even: Floats = np.minimum(values / np.float32(usual or 1.0), np.float32(_MOST))
    return even
