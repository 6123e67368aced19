"""How many candidates a graph must look at to find what it should: measured by rows that it has not yet.

Some rows are held back when a graph is built, and searched for before they are added, with more candidates
until nearly all is found; what is right is told by looking at every other row. Rows that the graph has say
nothing: each is linked to its nearest, so that whoever finds it has found them. Of data that a graph finds
hard 32 candidates found 99.5 of 100 for rows and 81 for queries; what is found for rows that were held back
is found for queries, too, within a point, if they are like the rows. Where they are not, the samples of live
searches tell, and more candidates are looked at from then on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from flow_vectors.checking import Ids, Vectors
from flow_vectors.local.graphs import Progress
from flowcore.routing import Metric

LADDER = (32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512)
"""Candidates that are tried."""
_FURTHER = 1.25
"""How many times as many are looked at, at least, where so many find too little."""
LEAST = 4096
"""Rows below which a graph finds everything anyway."""
HELD = 128
"""Rows that are held back."""
_LEAST_HELD = 16
"""Fewer tell too little."""
_PART_HELD = 4
"""At most one of so many of those that are added is held back."""
_K = 10
_ENOUGH = 0.995
_BLOCK = 16_384
Recalls = list[tuple[int, float]]
"""For some numbers of candidates the share of the ten nearest that was found."""
Candidates = Callable[[Vectors, int], list[Ids]]
"""The rows that a graph finds for each of several queries, looking at so many candidates."""


def held_back(done: int, rows: int) -> Ids:
    """Which of the rows from `done` on are held back: spread over them; none where there are few."""
    count = min(HELD, (rows - done) // _PART_HELD)
    if rows < LEAST or count < _LEAST_HELD:
        return np.empty(0, np.int64)
    return np.linspace(done, rows - 1, count).astype(np.int64)


def measured(
    rows: Vectors, held: Ids, metric: Metric, candidates: Candidates, progress: Progress
) -> Recalls:
    """The recall for each of `LADDER`, until it is enough, of those that were held back."""
    if not len(held):
        return []
    queries = rows[held]
    right = _right(rows, held, queries, metric, progress)
    made: Recalls = []
    for ef in LADDER:
        progress(len(rows))
        found = 0
        for number, some in enumerate(candidates(queries, ef)):
            near = _scores(rows[some], queries[number : number + 1], metric)[:, 0]
            best = some[np.argsort(-near)[:_K]]
            found += len(np.intersect1d(best, right[number]))
        made.append((ef, found / right.size))
        if made[-1][1] >= _ENOUGH:
            break
    return made


def further(candidates: int) -> int:
    """The next of `LADDER` that is worth a step; where there is none, as many as before."""
    return next((one for one in LADDER if one >= candidates * _FURTHER), candidates)


def enough(recalls: Recalls, recall: float, least: int) -> int:
    """The fewest candidates, `least` or more, with which as much is found, or else with which most is."""
    if not recalls or not recall:
        return least
    for ef, found in recalls:
        if found >= recall:
            return max(least, ef)
    return max(least, max(recalls, key=lambda one: one[1])[0])


def _right(
    rows: Vectors, held: Ids, queries: Vectors, metric: Metric, progress: Progress
) -> npt.NDArray[np.int64]:
    """The nearest of each query of all that are not held back, by looking at each: shape (queries, k)."""
    best = np.full((len(held), _K), -np.inf, dtype=np.float32)
    ids = np.full((len(held), _K), -1, dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        progress(len(rows))
        block = rows[start : start + _BLOCK]
        near = _scores(block, queries, metric).T
        near[:, held[(held >= start) & (held < start + len(block))] - start] = -np.inf
        numbers = np.arange(start, start + len(block))
        near = np.concatenate([best, near], axis=1)
        every = np.concatenate([ids, np.broadcast_to(numbers, (len(held), len(block)))], axis=1)
        order = np.argpartition(-near, _K - 1, axis=1)[:, :_K]
        best, ids = (
            np.take_along_axis(near, order, axis=1),
            np.take_along_axis(every, order, axis=1),
        )
    return ids


def _scores(rows: Vectors, queries: Vectors, metric: Metric) -> Vectors:
    """How near rows are to queries, shape (rows, queries); greater is nearer."""
    products: Vectors = rows @ queries.T
    if metric == "euclidean":
        products -= np.einsum("ij,ij->i", rows, rows)[:, np.newaxis] / 2
    return products
