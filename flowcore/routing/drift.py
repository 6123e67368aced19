"""Drift: whether what is asked now is still what was learned from. Sans-IO.

The mean vector of the latest queries is compared with that of what was learned. Two samples of one
distribution of unit vectors, with mean m and of n and k elements, have means that are apart by chance: the
squared distance is expected to be (1 - |m|²)(1/n + 1/k), the trace of the covariance times that. Drift is how
many times that the distance is: about 1 while nothing has changed. It is the two-sample statistic of the
maximum mean discrepancy with a linear kernel (Gretton et al., "A Kernel Two-Sample Test", JMLR 2012), scaled
to be read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from flowcore.routing.settings import DriftSettings

if TYPE_CHECKING:
    from flowcore.routing.interfaces import Vectors

LEAST = 20
"""Of each side, below which nothing is said."""


class Drift:
    """What was asked lately against what was learned from."""

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._latest: deque[Vectors] = deque()
        self._sum: Any = 0.0
        self._known: Any = 0.0
        self._learned = 0

    def asked(self, vector: Vectors) -> None:
        """A query came."""
        if not vector.any():
            return
        self._latest.append(vector)
        if len(self._latest) == 1:
            self._sum = vector.astype("float64")
        else:
            self._sum += vector
        if len(self._latest) > self._settings.window:
            self._sum -= self._latest.popleft()

    def learned(self, vector: Vectors) -> None:
        """A lesson came. Old ones fade, so that the memory is as long as ten windows."""
        if not vector.any():
            return
        self._learned = min(self._learned + 1, 10 * self._settings.window)
        self._known = self._known + (vector.astype("float64") - self._known) / self._learned

    def relearned(self) -> None:
        """What is asked now is what was learned from, henceforth."""
        if self._latest:
            self._known = self._sum / len(self._latest)
            self._learned = len(self._latest)

    @property
    def value(self) -> float | None:
        """How many times what chance would make; None while there is too little to say anything."""
        count = len(self._latest)
        if count < LEAST or self._learned < LEAST:
            return None
        now = self._sum / count
        apart = float(((now - self._known) ** 2).sum())
        spread = max(1.0 - float((self._known**2).sum()), 1e-3)
        return apart / (spread * (1 / count + 1 / self._learned))

    @property
    def exceeded(self) -> bool:
        """Whether it is drift, judged by a full window."""
        value = self.value
        full = len(self._latest) >= self._settings.window
        return full and value is not None and value > self._settings.threshold

    def status(self) -> dict[str, Any]:
        """What is compared, and how far apart it is."""
        value = self.value
        return {
            "value": None if value is None else round(value, 3),
            "threshold": self._settings.threshold,
            "exceeded": self.exceeded,
            "queries": len(self._latest),
            "lessons": self._learned,
        }
