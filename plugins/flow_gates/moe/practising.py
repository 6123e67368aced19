"""Lessons that are gone over again: what all of them tell first, and how far each then moves the gate.

An expert's own weights, and votes of patterns near by, know more than its prototype only in so far as it had
many lessons: with n of them they count n / (n + 20) of what they would.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow_gates.moe.metric import EXAMPLES, Metric, centres, fit, gains
from flow_gates.moe.network import Network
from flow_gates.moe.replay import Example, Replay
from flowcore.routing import give_way

Floats = npt.NDArray[np.float32]

_HALF = 20.0
"""Lessons of an expert with which they count half."""


def evidence(lessons: float) -> float:
    """How far what was learned of so many lessons counts, 0 to 1."""
    return lessons / (lessons + _HALF)


class Practice:
    """A gate that goes over its lessons again, with a map that was fitted when it began."""

    def __init__(self, replay: Replay, network: Network) -> None:
        """Fit a map to what is kept, and have the network begin anew with it. There must be examples."""
        described = network.described
        assert described is not None
        kept = [one for own in replay.examples.values() for one in own]
        sums = summed(replay, network)
        pointing = centres(described.vectors, sums)
        there = np.flatnonzero(pointing.any(axis=1))
        at = np.zeros(network.rows, np.int64)
        at[there] = np.arange(len(there))
        most = max(1, EXAMPLES // len(replay.examples))
        some = [one for own in replay.examples.values() for one in own[:most]][:EXAMPLES]
        said = np.empty((len(some), len(there)), np.float32)
        for row, one in enumerate(some):
            said[row] = described.words.scores(one.features, network.of_words).take(there)
            give_way()
        own = np.array([one.place for one in some])
        shared = fit(np.stack([one.vector for one in some]), at[own], said, pointing[there])
        self.metric = Metric(shared, sums)
        self._gains = self._apart(kept, pointing)
        network.begin_anew(self.metric)

    def _apart(self, kept: list[Example], pointing: Floats) -> dict[tuple[int, bytes], float]:
        """Have examples be learned as if they were not in their prototypes; gains, by expert and vector."""
        assert self.metric.shared is not None
        vectors = np.stack([one.vector for one in kept])
        found = gains(self.metric.shared, vectors, pointing[[one.place for one in kept]])
        by: dict[tuple[int, bytes], float] = {}
        for one, gain in zip(kept, found.tolist(), strict=True):
            one.said[0] -= gain
            by[one.place, one.vector.tobytes()] = gain
        return by

    def gain(self, place: int, vector: Floats) -> float:
        """How much nearer a lesson is to its expert's prototype for being in it, in logits."""
        return self._gains.get((place, vector.tobytes()), 0.0)

    def end(self, replay: Replay, network: Network) -> None:
        """What was kept since is in the prototypes from now on."""
        network.compare(Metric(self.metric.shared, summed(replay, network)))


def summed(replay: Replay, network: Network) -> Floats:
    """Shape (rows, dimensions): the sum of each expert's examples that are kept."""
    sums = np.zeros_like(network.weights)
    for place, kept in replay.examples.items():
        sums[place] = replay.vectors[place][: len(kept)].sum(axis=0)
    return sums
