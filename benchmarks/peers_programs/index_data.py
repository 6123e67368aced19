"""The vectors that indexes are measured with, the same in every program: clustered, of length one.

384 dimensions, of which about 34 say something; drawn in chunks, so that nobody has to hold them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

DIMENSIONS = 384
CHUNK = 10_000
QUERIES = 1000
_LATENT = 34
_CLUSTERS = 400
_SPREAD = 0.75
_NOISE = 0.02
Vectors = npt.NDArray[np.float32]


def chunks(count: int) -> Iterator[tuple[int, Vectors]]:
    """The number of the first vector of each chunk, and the chunk."""
    for start in range(0, count, CHUNK):
        yield start, drawn(start // CHUNK, min(CHUNK, count - start))


def queries() -> Vectors:
    """Vectors like the others, none of which is among them."""
    return drawn(1_000_003, QUERIES)


def drawn(seed: int, count: int) -> Vectors:
    """Some vectors of the kind."""
    shared = np.random.default_rng(7)
    centres = shared.normal(size=(_CLUSTERS, _LATENT))
    basis = shared.normal(size=(_LATENT, DIMENSIONS)) / _LATENT**0.5
    own = np.random.default_rng((11, seed))
    latent = centres[own.integers(0, _CLUSTERS, count)] + _SPREAD * own.normal(
        size=(count, _LATENT)
    )
    made = latent @ basis + _NOISE * own.normal(size=(count, DIMENSIONS))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    vectors: Vectors = made.astype(np.float32)
    return vectors


def truth(count: int, k: int = 10) -> npt.NDArray[np.int64]:
    """The k nearest of each query, by looking at all: shape (QUERIES, k)."""
    asked = queries()
    best = np.full((QUERIES, k), -np.inf, dtype=np.float32)
    ids = np.full((QUERIES, k), -1, dtype=np.int64)
    for start, vectors in chunks(count):
        scores = np.concatenate([best, asked @ vectors.T], axis=1)
        numbers = np.concatenate(
            [ids, np.broadcast_to(np.arange(start, start + len(vectors)), (QUERIES, len(vectors)))],
            axis=1,
        )
        order = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(scores, order, axis=1)
        ids = np.take_along_axis(numbers, order, axis=1)
    return ids
