"""Exact search: every vector is looked at, in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from flow_vectors.checking import Ids, Mask, Vectors
from flowcore.routing import Metric

Scores = npt.NDArray[np.float32]
Where = Callable[[Ids], Mask]

BLOCK = 16_384
"""Rows that are scored at a time."""
_CACHED = 512
"""Rows whose differences to a query stay in the processor's cache."""
_FEW = 4
"""Where fewer than one of so many is wanted, those are picked out before they are scored."""


def scores(rows: Vectors, query: Vectors, metric: Metric) -> Scores:
    """How near each row (n, dimensions) is; greater is nearer.

    The Euclidean distance is taken from differences: from squares and products it would be lost to rounding
    where vectors are long and near to each other.
    """
    if metric != "euclidean":
        products: Scores = rows @ query
        return products
    made = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _CACHED):
        apart = rows[start : start + _CACHED] - query
        made[start : start + _CACHED] = np.einsum("ij,ij->i", apart, apart)
    return np.negative(made, out=made)


def best(ids: Ids, found: Scores, k: int) -> tuple[Ids, Scores]:
    """The k best of them, best first; of equal ones those of smaller ids."""
    if len(found) > k:
        # all that are as good as the k-th, so that which of them are kept is no accident
        least = found[np.argpartition(found, len(found) - k)[len(found) - k :]].min()
        kept = np.flatnonzero(found >= least)
        ids, found = ids[kept], found[kept]
    order = np.lexsort((ids, -found))[:k]
    return ids[order], found[order]


def nearest(
    ids: Ids,
    rows: Vectors,
    alive: Callable[[int, int], Mask | None],
    query: Vectors,
    k: int,
    metric: Metric,
    where: Where | None,
    least: float = -math.inf,
) -> tuple[Ids, Scores]:
    """The k best rows, of those that score `least` or more. `alive(start, stop)` tells which rows of a block
    count, None for all."""
    every_id: list[Ids] = []
    every_score: list[Scores] = []
    for start in range(0, len(ids), BLOCK):
        block, numbers = rows[start : start + BLOCK], ids[start : start + BLOCK]
        chosen = alive(start, start + len(numbers))
        if where is not None:
            chosen = _asked(numbers, chosen, where)
        if chosen is not None:
            kept = np.flatnonzero(chosen)
            if len(kept) * _FEW < len(numbers):
                numbers, found = numbers[kept], scores(block[kept], query, metric)
            else:
                numbers, found = numbers[kept], scores(block, query, metric)[kept]
        else:
            found = scores(block, query, metric)
        if least > -math.inf:
            good = (found >= least).nonzero()[0]
            if not len(good):
                continue
            numbers, found = numbers[good], found[good]
        numbers, found = best(numbers, found, k)
        every_id.append(numbers)
        every_score.append(found)
    return joined(every_id, every_score, k)


def joined(ids: list[Ids], found: list[Scores], k: int) -> tuple[Ids, Scores]:
    """The k best of several answers, none of which shares an id with another."""
    if len(ids) == 1:
        return ids[0][:k], found[0][:k]
    if not ids:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    return best(np.concatenate(ids), np.concatenate(found), k)


def asked(ids: Ids, where: Where) -> Mask:
    """What the caller's filter says of ids. Raises ValueError if it says something else than asked."""
    given = np.asarray(where(ids))
    if given.dtype != np.bool_ or given.shape != ids.shape:
        raise ValueError(
            f"the filter gave {given.dtype} of shape {given.shape}, bool of shape {ids.shape} expected"
        )
    return given


def _asked(numbers: Ids, chosen: Mask | None, where: Where) -> Mask:
    if chosen is None:
        return asked(np.asarray(numbers), where)
    kept = np.flatnonzero(chosen)
    made = np.zeros(len(numbers), dtype=np.bool_)
    made[kept] = asked(numbers[kept], where)
    return made
