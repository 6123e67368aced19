"""What a lesson says of the logits: the gradient of its loss.

With p the softmax of the logits, e the expert of the lesson and r its reward:

    right (r = 1), exclusive:  - ln p(e)          gradient p(i) - [i = e]
    right, not exclusive:      - ln p(e)          gradient p(e) - 1 for e, nothing for the others
    wrong (r = 0):             - ln(1 - p(e))     gradient p(e) for e, - p(e) p(i) / (1 - p(e)) for others

and between them for a reward between them. A lesson counts its weight over its propensity (inverse
propensity, Horvitz, Thompson 1952), so that what was tried out rarely counts as if it had been tried as often
as anything else. The labels trick (Zeno et al. 2018, for continual learning) holds gradients back from
experts that have no lessons at present: they would only ever learn that they are wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_SURE = 0.05
"""1 - p(e) counts as this much at least, so that one surprise does not throw the others about."""


def softmax(logits: Floats) -> Floats:
    """Shape (n,), adding up to one; or (m, n), and each row does."""
    if logits.ndim == 1:
        # `argmax` takes a third of the time that `max` takes, and this is asked for five times a lesson
        shares: Floats = logits - logits.item(logits.argmax())
        np.exp(shares, shares)
        shares *= 1.0 / float(np.add.reduce(shares))
        return shares
    rows: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows /= rows.sum(axis=1, keepdims=True)
    return rows


def gradient(shares: Floats, at: int, reward: float, exclusive: bool) -> Floats:
    """Shape (n,): the gradient in the logits, for the expert at index `at`."""
    share = float(shares[at])
    if reward >= 1.0 and exclusive:
        slope = shares.copy()
        slope[at] -= 1.0
        return slope
    of_others = reward * exclusive - (1.0 - reward) * share / max(1.0 - share, _SURE)
    slope = shares * np.float32(of_others)
    slope[at] = reward * (share - 1.0) + (1.0 - reward) * share
    return slope
