"""EWC++: weights that matter for what is known hold on to their values (Chaudhry et al., "Riemannian Walk for
Incremental Learning: Understanding Forgetting and Intransigence", ECCV 2018).

For each weight w of W three things are kept, and one for each point where learning was consolidated:

    F   running Fisher information (section 4.1):  F <- (1 - alpha) F + alpha g^2,  g the gradient of a lesson
    s   score of the path (section 4.2), summed over intervals of some lessons:
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
ARRAYS = ("fisher", "score", "importance", "anchor", "fell", "start")


class Consolidation:
    """What holds weights back. All arrays have the shape of W."""

    def __init__(self, settings: EwcSettings, dimensions: int) -> None:
        self.settings = settings
        shape = (0, dimensions)
        self.fisher: Floats = np.zeros(shape, np.float32)
        self.score: Floats = np.zeros(shape, np.float32)
        self.importance: Floats = np.zeros(shape, np.float32)
        self.anchor: Floats = np.zeros(shape, np.float32)
        self.fell: Floats = np.zeros(shape, np.float32)
        """How much the loss fell by moving each weight, in the interval so far."""
        self.start: Floats = np.zeros(shape, np.float32)
        """The weights at the beginning of the interval."""
        self.points = 0
        """How often it was consolidated."""
        self.lessons = 0
        """In the interval so far."""
        self._touched: set[int] = set()

    def grow(self, rows: int) -> None:
        """Make room for as many rows."""
        for name in ARRAYS:
            array = getattr(self, name)
            grown = np.zeros((rows, array.shape[1]), np.float32)
            grown[: len(array)] = array
            setattr(self, name, grown)

    def held(self, places: Places, plain: Floats, rates: Floats) -> Floats:
        """The rows after a plain step, held back to where they were at the last consolidation: there was one.

        `rates` has the learning rate of each, shape (n, 1).
        """
        pull = np.float32(2.0 * self.settings.strength) * rates
        pull = pull * self.importance.take(places, axis=0)
        rows: Floats = (plain + pull * self.anchor.take(places, axis=0)) / (1.0 + pull)
        return rows

    def moved(self, places: Places, gradients: Floats, by: Floats) -> None:
        """Rows moved `by` for a lesson with these gradients, both of shape (n, dimensions)."""
        alpha = self.settings.fisher_rate
        fisher = self.fisher.take(places, axis=0)
        fisher += alpha * (gradients * gradients - fisher)
        self.fisher[places] = fisher
        if self.settings.path:
            self.fell[places] -= gradients * by
            self._touched.update(places.tolist())

    def passed(self, weights: Floats) -> None:
        """A lesson is over; after `interval` of them a stretch of the path is."""
        self.lessons += 1
        if self.lessons >= self.settings.interval:
            self._arrive(weights)

    def _arrive(self, weights: Floats) -> None:
        """Score the stretch of the path from the last point to here."""
        self.lessons = 0
        places = np.array(sorted(self._touched), np.int64)
        self._touched.clear()
        if len(places):
            here = weights[places]
            far = here - self.start[places]
            length = 0.5 * self.fisher[places] * far * far + _SMALL
            self.score[places] += np.maximum(self.fell[places], 0.0) / length
            self.fell[places] = 0.0
            self.start[places] = here

    def consolidate(self, weights: Floats) -> None:
        """From here on, hold on to these weights."""
        self._arrive(weights)
        self.points += 1
        self.importance = _even(self.fisher)
        if self.settings.path:
            self.importance += _even(self.score)
        self.anchor = weights.copy()
        self.score *= 0.5

    def forget(self, place: int) -> None:
        """Hold on to nothing of a row."""
        for name in ARRAYS:
            getattr(self, name)[place] = 0.0
        self._touched.discard(place)

    def restore(
        self, arrays: dict[str, Floats], points: int, lessons: int, touched: list[int]
    ) -> None:
        """As it was."""
        for name in ARRAYS:
            setattr(self, name, arrays[name])
        self.points, self.lessons, self._touched = points, lessons, set(touched)

    @property
    def touched(self) -> list[int]:
        """Rows that moved in the interval so far."""
        return sorted(self._touched)


def _even(values: Floats) -> Floats:
    """Values on a scale that does not depend on what they measure: 1 is usual, 3 the most."""
    used = values[values.any(axis=1)]
    usual = float(np.sqrt(np.mean(used * used, dtype=np.float64))) if len(used) else 0.0
    even: Floats = np.minimum(values / np.float32(usual or 1.0), np.float32(_MOST))
    return even
