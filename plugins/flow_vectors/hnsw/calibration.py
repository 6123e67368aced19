"""How many candidates a graph must look at to find what it should: measured on its own rows.

Some rows are searched for as if they were queries, with more candidates until nearly all is found; what is
right is told by looking at every row. For queries that are no rows a little less is found, so live recall
(`recall` in the status) says more; but it takes many searches to tell, and this is there before the first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from flow_vectors.checking import Ids, Vectors
from flow_vectors.local.graphs import Progress
from flowcore.routing import Metric

LADDER = (32, 64, 96, 128, 192, 256, 384, 512)
"""Candidates that are tried."""
LEAST = 4096
"""Rows below which a graph finds everything anyway."""
_QUERIES = 64
_K = 10
_ENOUGH = 0.995
_BLOCK = 16_384
Recalls = list[tuple[int, float]]
"""For some numbers of candidates the share of the ten nearest that was found."""
Candidates = Callable[[Vectors, int], list[Ids]]
"""The rows that a graph finds for each of several queries, looking at so many candidates; self included."""


def measured(rows: Vectors, metric: Metric, candidates: Candidates, progress: Progress) -> Recalls:
    """The recall for each of `LADDER`, until it is enough; none for few rows."""
    if len(rows) < LEAST:
        return []
    asked = np.linspace(0, len(rows) - 1, _QUERIES).astype(np.int64)
    queries = rows[asked]
    right = _right(rows, asked, queries, metric, progress)
    made: Recalls = []
    for ef in LADDER:
        progress(len(rows))
        found = 0
        for number, some in enumerate(candidates(queries, ef)):
            others = some[some != asked[number]]
            near = _scores(rows[others], queries[number : number + 1], metric)[:, 0]
            best = others[np.argsort(-near)[:_K]]
            found += len(np.intersect1d(best, right[number]))
        made.append((ef, found / right.size))
        if made[-1][1] >= _ENOUGH:
            break
    return made


def enough(recalls: Recalls, recall: float, least: int) -> int:
    """The fewest candidates, `least` or more, with which as much is found, or else with which most is."""
    if not recalls or not recall:
        return least
    for ef, found in recalls:
        if found >= recall:
            return max(least, ef)
    return max(least, max(recalls, key=lambda one: one[1])[0])


def _right(
    rows: Vectors, asked: Ids, queries: Vectors, metric: Metric, progress: Progress
) -> npt.NDArray[np.int64]:
    """The nearest of each query but itself, by looking at every row: shape (queries, k)."""
    best = np.full((len(asked), _K), -np.inf, dtype=np.float32)
    ids = np.full((len(asked), _K), -1, dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        progress(len(rows))
        block = rows[start : start + _BLOCK]
        near = _scores(block, queries, metric).T
        mine = (asked >= start) & (asked < start + len(block))
        near[mine, asked[mine] - start] = -np.inf
        numbers = np.arange(start, start + len(block))
        near = np.concatenate([best, near], axis=1)
        every = np.concatenate([ids, np.broadcast_to(numbers, (len(asked), len(block)))], axis=1)
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
