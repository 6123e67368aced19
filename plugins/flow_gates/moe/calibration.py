"""Probabilities that are right as often as they say: one temperature, fitted as lessons come.

Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017): p = softmax(z / T)
with the T that makes the right experts most likely. It is fitted on each lesson before the gate learns from
it, so on what it has not seen (progressive validation, Blum et al. 1999), by a step down the gradient

    d -ln p(e) / d ln T = (z(e) - sum of p(i) z(i)) / T

(where e was wrong, that of - ln(1 - p(e)): the same times - p(e) / (1 - p(e))),
whose size goes from 0.1 down to 0.005, so that it follows when the world changes. The expected error (ECE:
probability against how often it was right, in ten bins) is measured in passing over the same lessons.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from flow_gates.moe.losses import softmax

Floats = npt.NDArray[np.float32]

_COLD = 0.5
"""The temperature before any lesson: similarity alone is surer than its logits say."""
_RANGE = (0.1, 10.0)
_BINS = 10
_MEMORY = 0.998
"""What is left of a lesson's weight in the measured error after the next one."""


class Calibration:
    """The temperature, and how far off it is."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self.temperature = _COLD if enabled else 1.0
        self.lessons = 0
        self.bins: npt.NDArray[np.float64] = np.zeros((_BINS, 3))
        """For each bin of probabilities: weight, sum of probabilities, sum of what was right."""

    def observe(self, logits: Floats, at: int, right: bool) -> None:
        """A lesson that the gate has not learned yet: the expert at index `at` was right, or wrong."""
        shares = softmax(logits / self.temperature)
        best = int(shares.argmax())
        if right or best == at:  # else it is not known whether the best was right
            confidence = float(shares[best])
            self.bins *= _MEMORY
            place = min(int(confidence * _BINS), _BINS - 1)
            counted = self.bins[place]
            counted[0] += 1.0
            counted[1] += confidence
            counted[2] += right and best == at
        self.lessons += 1
        if self._enabled:
            slope = (logits.item(at) - float(shares.dot(logits))) / self.temperature
            if not right:
                share = float(shares[at])
                slope *= -share / max(1.0 - share, 0.05)
            rate = max(0.1 / (1.0 + 0.02 * self.lessons), 0.005)
            moved = math.log(self.temperature) - rate * min(max(slope, -3.0), 3.0)
            self.temperature = min(max(math.exp(moved), _RANGE[0]), _RANGE[1])

    @property
    def error(self) -> float | None:
        """The expected calibration error over about the last 500 lessons; None before the first."""
        total = float(self.bins[:, 0].sum())
        if not total:
            return None
        return float(np.abs(self.bins[:, 1] - self.bins[:, 2]).sum()) / total
