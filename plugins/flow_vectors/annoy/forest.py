"""Forests by Annoy, over the rows of a segment; a row's number is its item."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from annoy import AnnoyIndex

from flow_vectors.annoy.settings import AnnoyConfig
from flow_vectors.checking import Ids, Vectors
from flow_vectors.local.graphs import Base, Progress
from flowcore.errors import DamagedState
from flowcore.routing import Metric

_CHUNK = 512
_METRICS: Mapping[Metric, Literal["angular", "dot", "euclidean"]] = {
    "cosine": "angular",
    "inner_product": "dot",
    "euclidean": "euclidean",
}
_SEED = 7


class Forest:
    """An opened forest. Annoy's searches change nothing, and may run side by side."""

    busy = False
    mapped = True
    memory = 0

    def __init__(self, index: AnnoyIndex, config: AnnoyConfig) -> None:
        self._index = index
        self._config = config

    @property
    def told(self) -> Mapping[str, Any]:
        return {}

    def at_least(self, candidates: int) -> None:
        """It looks at `search_k`, as configured."""
        del candidates

    def candidates(self, query: Vectors, count: int, times: float = 1.0) -> Ids:
        """The nearest rows that are found among `search_k`."""
        wanted = math.ceil(max(count, self._config.rerank) * times)
        looked_at = max(self._config.search_k, wanted)
        found = self._index.get_nns_by_vector(query.tolist(), wanted, looked_at)
        return np.array(found, dtype=np.int64)


class ForestMaker:
    """`flow_vectors.local.graphs.GraphMaker` of Annoy."""

    least = 4096
    grows = False

    def __init__(self, config: AnnoyConfig, least: int | None = None) -> None:
        """`least` is for tests: rows from which on a segment gets a forest."""
        self._config = config
        if least is not None:
            self.least = least

    def further(self, candidates: int) -> int:
        """It looks at `search_k`, as configured."""
        return candidates

    @property
    def made_with(self) -> Mapping[str, Any]:
        return {"library": "annoy", "trees": self._config.trees}

    def build(
        self,
        rows: Vectors,
        path: pathlib.Path,
        metric: Metric,
        progress: Progress,
        base: Base | None = None,
    ) -> Mapping[str, Any]:
        """Plant all trees, in memory: Annoy's building on disk dies of a full one. It cannot be interrupted
        while the trees grow, nor taken up again, nor go on from those of fewer rows."""
        index = AnnoyIndex(rows.shape[1], _METRICS[metric])
        index.set_seed(_SEED)
        for start in range(0, len(rows), _CHUNK):
            progress(start)
            for number, row in enumerate(rows[start : start + _CHUNK].tolist(), start):
                index.add_item(number, row)
        index.build(self._config.trees, 1)
        progress(len(rows))
        index.save(str(path))
        return {}

    def open(
        self, path: pathlib.Path, rows: Vectors, metric: Metric, told: Mapping[str, Any]
    ) -> Forest:
        """Map it."""
        index = AnnoyIndex(rows.shape[1], _METRICS[metric])
        try:
            index.load(str(path))
        except OSError as error:
            raise DamagedState(f"{path.name} cannot be opened: {error}") from error
        if index.get_n_items() != len(rows):
            raise DamagedState(f"{path.name} has {index.get_n_items()} rows, {len(rows)} expected")
        return Forest(index, self._config)
