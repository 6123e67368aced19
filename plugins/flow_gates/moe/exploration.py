"""Trying out experts of which little is known, where that does no harm.

Thompson sampling (Thompson 1933; Chapelle, Li 2011): the logit of an expert with n lessons is drawn from a
normal distribution around it with the deviation `scale` / sqrt(1 + n), and the greatest is tried. Only
experts without side effects are drawn, and only those within `reach` of the best: whoever has no chance is
not asked for the sake of learning. The draws come from the seed, the text and how many lessons there were:
the same gate asked the same gives the same.

The probability with which the tried one was to be tried, its propensity, is estimated by drawing as often
again as `_DRAWS`; the first draw is the one that counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flow_gates.moe.chance import mixed
from flow_gates.moe.settings import ExplorationSettings

Floats = npt.NDArray[np.float32]
_DRAWS = 31
_TABLE = 1 << 13


class Exploration:
    """Draws whom to try."""

    def __init__(self, settings: ExplorationSettings, seed: int) -> None:
        self._settings = settings
        drawn = np.random.Generator(np.random.PCG64(seed & ((1 << 64) - 1)))
        self._normal = drawn.standard_normal(2 * _TABLE, np.float32)
        self.tried = 0

    def choose(
        self, logits: Floats, lessons: Sequence[int], harmless: Sequence[bool], key: int
    ) -> tuple[int, float]:
        """The index of the one to be tried first, and its propensity.

        `logits` are those of the best experts, best first; `lessons` how many each had.
        """
        settings = self._settings
        if not any(harmless):
            return 0, 1.0
        count = min(len(logits), int(np.count_nonzero(logits >= logits[0] - settings.reach)))
        deviations = np.array(
            [
                settings.scale / (1.0 + n) ** 0.5 if free else 0.0
                for n, free in zip(lessons[:count], harmless[:count], strict=True)
            ],
            np.float32,
        )
        if count < 2 or not deviations.any():
            return 0, 1.0
        start = mixed(key) % _TABLE
        size = (_DRAWS + 1) * count
        normal = self._normal.take(np.arange(start, start + size), mode="wrap")
        drawn = logits[:count] + deviations * normal.reshape(_DRAWS + 1, count)
        # one with side effects is never first for having been drawn: only for being the best as it is
        drawn[:, 1:][:, [not free for free in harmless[1:count]]] = -np.inf
        winners = drawn.argmax(axis=1)
        chosen = int(winners[0])
        if chosen:
            self.tried += 1
        return chosen, float(np.count_nonzero(winners == chosen)) / (_DRAWS + 1)
