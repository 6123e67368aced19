"""What the examples of all experts tell together: a map of vectors that brings each near to its own expert.

Little can be learned from the few examples of one expert. But what tells requests apart is much the same for
all of them: some directions of a vector are wording, others meaning. So a gate that is trained anew fits one
matrix M for all experts, to the examples that it keeps. An expert's prototype is the mean of these, with what
it says of itself as two more (Snell et al., "Prototypical Networks for Few-shot Learning", NIPS 2017),

    p(e) = unit(2 C[e] + sum of its x),

and M, which begins as the identity, goes down the mean of

    - ln softmax(s x' M p + d words)(e),    s = 12,

each example left out of the prototype of its own expert, so that what is learned holds for those that are to
come (as in neighbourhood components analysis, Goldberger et al., NIPS 2004). It takes 75 steps with momentum
and stops there: more of them fit few examples too well.

Then s M p(e) stands where c C[e] stood, what an expert says of itself. So a ranking takes no longer, whoever
comes later has its description under the same map, and W and U learn what is left over. They begin at zero
again, and for as long as lessons are gone over they learn from an example as if it were not in its prototype:
it is nearer to that than other requests of its expert, by `gains`.

None of this is done where experts had more lessons than are kept of each: their own weights know more then,
and one prototype misleads where an expert is there for many things.

What is kept are M and the sums of examples as they were at the end of that, so that a gate that is read from
disk is the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flow_gates.moe.losses import softmax
from flowcore.routing import give_way

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

EXAMPLES = 4096
"""Of so many examples the map is learned at most."""
_SCALE = 12.0
"""s."""
_SAID = 2.0
"""For how many examples counts what an expert says of itself."""
_STEPS = 75
_RATE = 0.5
_MOMENTUM = 0.9
_TOGETHER = 1024
"""Examples in one step, about."""


class Metric:
    """M, and the sums of each expert's examples; neither before a map was fitted."""

    def __init__(self, shared: Floats | None = None, sums: Floats | None = None) -> None:
        """`shared` has shape (dimensions, dimensions), `sums` (rows, dimensions): zeros for no examples."""
        self.shared = shared
        self.sums = sums

    @property
    def fitted(self) -> bool:
        """Whether there is a map."""
        return self.shared is not None

    def rows(self, described: Floats) -> Floats:
        """Shape (rows, dimensions): s M p(e) for each row of C; there must be a map."""
        assert self.shared is not None
        assert self.sums is not None
        prototypes = unit(centres(described, self.sums[: len(described)]))
        return prototypes @ (np.float32(_SCALE) * self.shared.T)

    def forget(self, place: int) -> None:
        """Have no examples of a row."""
        if self.sums is not None and place < len(self.sums):
            self.sums[place] = 0.0


def centres(described: Floats, sums: Floats) -> Floats:
    """Shape (rows, dimensions): what points to each expert's prototype. There may be fewer sums than rows."""
    made: Floats = np.float32(_SAID) * described
    made[: len(sums)] += sums
    return made


def fit(examples: Floats, own: Places, said: Floats, pointing: Floats) -> Floats:
    """M, shape (dimensions, dimensions).

    `examples` has shape (n, dimensions), `own` (n,): the row of each one's expert in `pointing`, which are
    centres, shape (rows, dimensions). `said` has shape (n, rows): what words say, in logits.
    """
    shared = np.eye(examples.shape[1], dtype=np.float32)
    moving = np.zeros_like(shared)
    prototypes = unit(pointing)
    apart = unit(pointing[own] - examples)
    parts = -(-len(own) // _TOGETHER)
    for step in range(_STEPS):
        some = slice(step % parts, None, parts)  # of all experts: examples come sorted by them
        vectors, right, without = examples[some], own[some], apart[some]
        at = np.arange(len(right))
        mapped = vectors @ shared
        logits = (mapped @ prototypes.T).astype(np.float32, copy=False)
        logits[at, right] = (mapped * without).sum(axis=1)
        logits *= np.float32(_SCALE)
        logits += said[some]
        slopes = softmax(logits)
        of_own = slopes[at, right] - np.float32(1.0)
        slopes[at, right] = 0.0
        pulled = slopes @ prototypes
        pulled += of_own[:, np.newaxis] * without
        moving *= np.float32(_MOMENTUM)
        moving -= np.float32(_RATE / len(right)) * (vectors.T @ pulled)
        shared += moving
        give_way()
    return shared


def gains(shared: Floats, examples: Floats, pointing: Floats) -> Floats:
    """Shape (n,): how much nearer each is to its prototype for being in it, in logits.

    `pointing` are the centres of their own experts, shape (n, dimensions).
    """
    nearer = unit(pointing)
    nearer -= unit(pointing - examples)
    found: Floats = np.float32(_SCALE) * ((examples @ shared) * nearer).sum(axis=1)
    return found


def unit(vectors: Floats) -> Floats:
    """Each row scaled to length one; zeros stay zeros."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    scaled: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
