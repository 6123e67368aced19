"""Vector indexes of all kinds, made small, so that a few vectors take every way that many take."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable, Mapping

import numpy as np

from flow_vectors.annoy.settings import AnnoyConfig
from flow_vectors.checking import Ids, Vectors
from flow_vectors.hnsw.graph import HnswMaker
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local.graphs import GraphMaker
from flow_vectors.local.opening import LocalIndexes
from flow_vectors.local.options import Options
from flowcore.assembly import Status
from flowcore.routing import Identity, Metric, Space
from support.needs import annoy

DIMENSIONS = 8


def _annoy() -> GraphMaker:
    annoy()
    from flow_vectors.annoy.forest import ForestMaker

    return ForestMaker(AnnoyConfig(trees=4, search_k=1000), least=8)


MAKERS: Mapping[str, Callable[[], GraphMaker | None]] = {
    "exact": lambda: None,
    "hnsw f32": lambda: HnswMaker(HnswConfig(storage="f32"), least=8),
    "hnsw f16": lambda: HnswMaker(HnswConfig(storage="f16"), least=8),
    "hnsw i8 mapped": lambda: HnswMaker(HnswConfig(storage="i8", mapped=0), least=8),
    "annoy": _annoy,
}


def local(
    kind: str,
    folder: pathlib.Path,
    *,
    front: int = 4,
    spill: int = 8,
    sample: float = 0.0,
    report: Callable[[Status, str], None] = lambda status, reason: None,
) -> LocalIndexes:
    """Indexes of a kind in files; the front becomes a segment after some vectors. Or a skip."""
    options = Options(front=front, spill=max(front, spill), sample=sample)
    return LocalIndexes(folder, MAKERS[kind](), options, random.Random(3), report)


def space(metric: Metric = "cosine", dimensions: int = DIMENSIONS) -> Space:
    return Space(identity=Identity(name="t", version="1", dimensions=dimensions), metric=metric)


def vectors(count: int, seed: int, dimensions: int = DIMENSIONS) -> Vectors:
    made: Vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return made


def ids(*numbers: int) -> Ids:
    return np.array(numbers, dtype=np.int64)


def scores(
    rows: Vectors, query: Vectors, metric: Metric
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How near rows are, in double precision, the plainest way."""
    one, other = rows.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        made = -((one - other) ** 2).sum(axis=1)
    else:
        made = one @ other
        if metric == "cosine":
            made = made / (np.linalg.norm(one, axis=1) * np.linalg.norm(other))
    return np.asarray(made)
