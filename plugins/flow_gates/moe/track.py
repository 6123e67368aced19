"""How well the gate does, measured on lessons before it learns them: accuracy, forgetting, drift.

- Accuracy: how often the best expert was the right one, over about the last 100 and the last 2,000 lessons.
- Forgetting (Chaudhry et al. 2018, section 3): for each expert the share of its replayed examples that are
  still told right, its best so far less what it is now, averaged over experts.
- Drift: one less the cosine between the mean vector of about the last 200 lessons and that of the last 5,000;
  and by how much accuracy has lately fallen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_SHORT, _LONG = 1 / 100, 1 / 2_000
_SHORT_MEAN, _LONG_MEAN = 1 / 200, 1 / 5_000
_MEANS = np.array([[_SHORT_MEAN], [_LONG_MEAN]], np.float32)
_ENOUGH = 10


class Track:
    """Moving averages over lessons; each starts as the plain average of the first ones."""

    def __init__(self, dimensions: int) -> None:
        self.judged = 0
        self.short = 0.0
        self.long = 0.0
        self.lessons = 0
        self.means: Floats = np.zeros((2, dimensions), np.float32)
        """The mean vector of late, and of a long time."""
        self.replayed: dict[int, list[float]] = {}
        """For each expert's row: how often it was replayed, the share told right, the best that ever was."""

    def judge(self, right: bool) -> None:
        """The best expert for a lesson was right, or not."""
        self.judged += 1
        self.short += (right - self.short) * max(_SHORT, 1 / self.judged)
        self.long += (right - self.long) * max(_LONG, 1 / self.judged)

    def see(self, vector: Floats) -> None:
        """The vector of a lesson."""
        self.lessons += 1
        apart = vector - self.means
        if self.lessons * _LONG_MEAN < 1:
            least = 1 / self.lessons
            apart *= np.array([[max(_SHORT_MEAN, least)], [least]], np.float32)
        else:
            apart *= _MEANS
        self.means += apart

    def replay(self, place: int, right: bool) -> None:
        """An example of an expert was told right again, or not."""
        count, share, best = self.replayed.get(place, (0.0, 0.0, 0.0))
        count += 1
        share += (right - share) * max(0.1, 1 / count)
        if count >= _ENOUGH:
            best = max(best, share)
        self.replayed[place] = [count, share, best]

    @property
    def forgetting(self) -> float | None:
        """0 to 1; None before there is enough to tell."""
        told = [best - share for count, share, best in self.replayed.values() if count >= _ENOUGH]
        return sum(told) / len(told) if told else None

    @property
    def drift(self) -> float | None:
        """0 for none, up to 2; None before there is enough to tell."""
        lengths = np.linalg.norm(self.means, axis=1)
        if self.lessons < 1 / _SHORT_MEAN or not lengths.all():
            return None
        return max(0.0, 1.0 - float(self.means[0] @ self.means[1] / lengths.prod()))

    def status(self) -> dict[str, Any]:
        """As plain data."""

        def told(number: float | None) -> float | None:
            return None if number is None else round(number, 4)

        return {
            "accuracy": told(self.short if self.judged else None),
            "accuracy_before": told(self.long if self.judged else None),
            "forgetting": told(self.forgetting),
            "drift": told(self.drift),
        }
