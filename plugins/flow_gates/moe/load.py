"""Choosing among near-equals by load, without a loss that would spoil what is learned.

Auxiliary-loss-free load balancing (Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for
Mixture-of-Experts", 2024): each expert has a bias that is added to its logit for choosing, and for nothing
else; probabilities and gradients do not know it. With each choice the bias goes down by `step` for an expert
that is busier than the average of those on the shortlist, and up for the others.

It differs from the paper in that the bias is never above 0 nor below minus `most`: an expert is passed over
only for one that is nearly as good, however busy it is, and nobody is chosen for being idle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flow_gates.moe.settings import LoadSettings

Floats = npt.NDArray[np.float32]


class LoadBias:
    """A bias for each row; it follows what rankings say of load, and is not kept."""

    def __init__(self, settings: LoadSettings) -> None:
        self._settings = settings
        self.bias: Floats = np.zeros(0, np.float32)
        self._any = False
        self.count = 0
        """How often anybody had a bias."""

    def grow(self, rows: int) -> None:
        """Make room for as many rows."""
        grown = np.zeros(rows, np.float32)
        grown[: len(self.bias)] = self.bias
        self.bias = grown

    def of(
        self, places: npt.NDArray[np.int64], names: Sequence[str], load: Mapping[str, float]
    ) -> Floats | None:
        """Shape (n,): the bias of each of these experts, after following their load; None for all 0."""
        if load:
            self._any = True
            told = np.array([load.get(names[place], 0.0) for place in places.tolist()])
            busy = np.where(np.isfinite(told), np.clip(told, 0.0, 1.0), 0.0)
        elif self._any:
            busy = np.zeros(len(places))
        else:
            return None
        by = np.where(busy > busy.mean(), -self._settings.step, self._settings.step)
        bias = np.clip(self.bias[places] + by.astype(np.float32), -self._settings.most, 0.0)
        self.bias[places] = bias
        self._any = bool(load) or bool(self.bias.any())
        self.count += bool(bias.any())
        return bias
