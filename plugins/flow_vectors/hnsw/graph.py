"""HNSW graphs by usearch, over the rows of a segment; a row's number is its key.

usearch's searches share buffers, one set for each thread of *its own*: two searches that Python starts with
one thread each use the same. So a graph does one search at a time, behind a lock. Nothing is added to a graph
that is searched, and nothing removed: that is what segments are for. Keys are never looked up, but
`enable_key_lookups=False` would be no saving: with it, usearch 2.25 writes beyond its memory in `add_many`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import pathlib
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from usearch.compiled import Index, MetricKind, ScalarKind

from flow_vectors.checking import Ids, Vectors
from flow_vectors.hnsw.calibration import (
    Candidates,
    Recalls,
    enough,
    further,
    held_back,
    measured,
)
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local import files
from flow_vectors.local.graphs import Base, Progress
from flowcore.errors import DamagedState
from flowcore.routing import Metric

_CHUNK = 64
"""Rows that are added between two looks at whether to go on: some 30 ms."""
_CHECKPOINT = 100_000
"""Rows after which an unfinished graph is written down."""
_KINDS = {"f32": ScalarKind.F32, "f16": ScalarKind.F16, "i8": ScalarKind.I8}
_METRICS = {
    # of vectors of length one the cosine is the product, which is one sum and not three; as bytes they are of
    # about that length
    "cosine": MetricKind.IP,
    "inner_product": MetricKind.IP,
    "euclidean": MetricKind.L2sq,
}
_LARGEST_F16 = 60_000.0
_STEEPEST = 1e38
_NEAREST = 10
"""Of how many it is measured whether they are found."""
_CUT = 0.8
"""Rows are added to a graph whose scale is not right for them if their greatest numbers keep so much."""
_TABLES = 48
"""Bytes for each row of a mapped graph, for usearch's tables of places and keys, which it does not count;
found from the process's own memory when 300,000 rows were mapped."""


class HnswGraph:
    """An opened graph."""

    def __init__(
        self,
        index: Index,
        config: HnswConfig,
        metric: Metric,
        told: Mapping[str, Any],
        mapped: bool,
        held: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """`held` is the file in memory, where the index is a view of it."""
        self._index = index
        self._held = held
        self.scale = float(told["scale"])
        # the order of inner products is the same whatever the query is multiplied by; usearch takes them from
        # one, where small ones would be lost
        self._own_scale = metric == "inner_product"
        self._i8 = config.storage == "i8"
        self._rerank = config.rerank if self._i8 else 0
        self._kind = ScalarKind.I8 if self._i8 else ScalarKind.F32
        self._rows = len(index)
        self._as_it_is = metric == "cosine" and not self._i8
        self._lock = threading.Lock()
        self._looks = self._sees = int(index.expansion_search)
        """At how many candidates it is to look, and does."""
        self.mapped = mapped
        self.told = {
            "candidates": self._looks,
            "added": int(told.get("added", len(index))),
        }
        self.memory = int(index.memory_usage) + (_TABLES * len(index) if mapped else 0)
        if held is not None:
            self.memory += _TABLES * len(index) + held.nbytes

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    def at_least(self, candidates: int) -> None:
        """Look at so many candidates from the next search on, or at more."""
        self._looks = max(self._looks, candidates)
        self.told["candidates"] = self._looks

    def candidates(self, query: Vectors, count: int, times: float = 1.0) -> Ids:
        """The nearest rows, as far as the graph knows."""
        if self._as_it_is:
            given: npt.NDArray[Any] = query[np.newaxis]
        else:
            scale = self.scale
            if self._own_scale:
                scale = _fitting(float(np.abs(query).max()), self._i8)
            given = _stored(query[np.newaxis], scale, self._i8)
        wanted = min(math.ceil(max(count, self._rerank) * times), self._rows)
        with self._lock:
            if self._sees != self._looks:
                self._index.expansion_search = self._sees = self._looks
            keys, _, counts, _, _ = self._index.search_many(
                given, wanted, False, 1, None, self._kind
            )
        rows: Ids = keys.view(np.int64)[0]
        return rows if counts[0] == wanted else rows[: counts[0]]


class HnswMaker:
    """`flow_vectors.local.graphs.GraphMaker` of usearch."""

    least = 1024
    grows = True

    def __init__(self, config: HnswConfig, least: int | None = None) -> None:
        """`least`: rows from which on a segment gets a graph; None for the usual."""
        self._config = config
        if least is not None:
            self.least = least

    def further(self, candidates: int) -> int:
        """How many are looked at where so many find too little."""
        return further(candidates)

    @property
    def made_with(self) -> Mapping[str, Any]:
        """What the file depends on; `ef_search` and the like are free to change."""
        config = self._config
        return {
            "library": "usearch",
            "connectivity": config.connectivity,
            "ef_construction": config.ef_construction,
            "storage": config.storage,
        }

    def build(
        self,
        rows: Vectors,
        path: pathlib.Path,
        metric: Metric,
        progress: Progress,
        base: Base | None = None,
    ) -> Mapping[str, Any]:
        """Add row after row, and write the graph down now and then, to go on from there after a kill."""
        index = self._index(rows.shape[1], metric)
        part = path.with_suffix(".part")
        scale = _scale(rows, self._config.storage, metric, progress)
        if base is not None and _within(scale, base.told["scale"]):
            scale, done = base.told["scale"], base.rows
            begun = done
            _read(index, metric, base.path, index.load_index_from_path)
        else:
            done, begun = _resumed(index, metric, part, len(rows))
            if not done:  # what was read of a damaged one is in it
                index = self._index(rows.shape[1], metric)
        index.expansion_add = self._config.ef_construction
        held, written = held_back(begun, len(rows)), done
        for start in range(done, len(rows), _CHUNK):
            progress(start)
            if start - written >= _CHECKPOINT:
                _written(index, part)
                _sealed(part, start, begun)
                written = start
            keys = np.arange(start, min(start + _CHUNK, len(rows)))
            self._add(index, rows, np.setdiff1d(keys, held), scale)
        progress(len(rows))
        candidates = self._candidates(index, metric, scale)
        recalls: Recalls = measured(rows, held, metric, candidates, progress)
        if not recalls and base is not None:  # too few came to tell
            recalls = base.told.get("recalls", [])
        self._add(index, rows, held, scale)
        _written(index, path)
        part.unlink(missing_ok=True)
        _seal_of(part).unlink(missing_ok=True)
        return {"scale": scale, "recalls": recalls, "added": len(rows) - done}

    def _add(self, index: Index, rows: Vectors, keys: Ids, scale: float) -> None:
        if len(keys):
            i8 = self._config.storage == "i8"
            given = _stored(rows[keys], scale, i8)
            kind = ScalarKind.I8 if i8 else ScalarKind.F32
            index.add_many(keys.astype(np.uint64), given, copy=True, threads=1, dtype=kind)

    def _candidates(self, index: Index, metric: Metric, scale: float) -> Candidates:
        """What searches of a graph that was just built would rank."""

        def candidates(queries: Vectors, ef: int) -> list[Ids]:
            index.expansion_search = max(
                ef, self._config.rerank if self._config.storage == "i8" else 0
            )
            graph = HnswGraph(index, self._config, metric, {"scale": scale}, False)
            return [graph.candidates(query, _NEAREST) for query in queries]

        return candidates

    def open(
        self, path: pathlib.Path, rows: Vectors, metric: Metric, told: Mapping[str, Any]
    ) -> HnswGraph:
        """Read it, or map it if it is large.

        What is read is one array, in which the index looks: numpy asks for large pages for it, of which the
        processor finds the places sooner than of the thousands of small ones of usearch's own memory. A
        search takes a fifth less.
        """
        index = self._index(rows.shape[1], metric)
        mapped = path.stat().st_size > self._config.mapped
        held = None if mapped else np.fromfile(path, dtype=np.uint8)
        if held is None:
            _read(index, metric, path, index.view_index_from_path)
        else:
            whole = held.data
            _read(index, metric, path, lambda _: index.view_index_from_buffer(whole))
        if len(index) != len(rows):
            raise DamagedState(f"{path.name} has {len(index)} rows, {len(rows)} expected")
        recalls = [(int(ef), float(found)) for ef, found in told.get("recalls", ())]
        ef = enough(recalls, self._config.recall, self._config.ef_search)
        index.expansion_search = ef
        return HnswGraph(index, self._config, metric, told, mapped, held)

    def _index(self, dimensions: int, metric: Metric) -> Index:
        return Index(
            ndim=dimensions,
            dtype=_KINDS[self._config.storage],
            connectivity=self._config.connectivity,
            expansion_add=self._config.ef_construction,
            expansion_search=self._config.ef_search,
            metric_kind=_METRICS[metric],
        )


def _scale(rows: Vectors, storage: str, metric: Metric, progress: Progress) -> float:
    """What vectors are multiplied by so that their range fits the numbers of the graph."""
    if storage != "i8" and metric == "cosine":
        return 1.0
    largest = 0.0
    for start in range(0, len(rows), 8192):
        progress(0)
        largest = max(largest, float(np.abs(rows[start : start + 8192]).max(initial=0.0)))
    return _fitting(largest, storage == "i8")


def _within(scale: float, other: float) -> bool:
    """Whether vectors for which this scale is right are not cut off much by the other."""
    return scale >= other * _CUT


def _fitting(largest: float, i8: bool) -> float:
    """What makes a number as large as it should be."""
    scale = (127.0 if i8 else 1.0) / largest if largest else 1.0
    return scale if scale < _STEEPEST else 1.0


def _stored(vectors: Vectors, scale: float, i8: bool) -> npt.NDArray[Any]:
    """Vectors as they are handed to the graph."""
    if i8:
        return quantised(vectors, scale)
    if scale == 1.0:
        return vectors
    scaled: Vectors = np.clip(vectors * np.float32(scale), -_LARGEST_F16, _LARGEST_F16)
    return scaled


def quantised(vectors: Vectors, scale: float) -> npt.NDArray[np.int8]:
    """Vectors as whole numbers of a byte, -127 to 127."""
    scaled = vectors * np.float32(scale)
    np.rint(scaled, out=scaled)
    small: npt.NDArray[np.int8] = scaled.clip(-127, 127, out=scaled).astype(np.int8)
    return small


def _written(index: Index, path: pathlib.Path) -> None:
    """Have usearch write a file, and see that all of it was written. Raises OSError."""
    files.private(path)
    try:
        index.save_index_to_path(str(path))
    except RuntimeError as error:
        raise OSError(errno.EIO, f"usearch could not write it: {error}", str(path)) from error
    if path.stat().st_size < index.serialized_length:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _seal_of(part: pathlib.Path) -> pathlib.Path:
    return part.with_suffix(".partseal")


def _sealed(part: pathlib.Path, rows: int, begun: int) -> None:
    """Write down how far an unfinished graph is, from where on rows are held back, and its checksum."""
    seal = {"rows": rows, "begun": begun, "crc": _crc(part)}
    files.private(_seal_of(part))
    _seal_of(part).write_text(json.dumps(seal))


def _read(index: Index, metric: Metric, path: pathlib.Path, way: Callable[[str], object]) -> None:
    """Have an index be what is in a file, and compare as ours do: some were built by the cosine itself.

    Raises DamagedState.
    """
    try:
        way(str(path))
    except (RuntimeError, ValueError) as error:
        raise DamagedState(f"{path.name} cannot be opened: {error}") from error
    index.change_metric(_METRICS[metric])


def _resumed(index: Index, metric: Metric, part: pathlib.Path, rows: int) -> tuple[int, int]:
    """Go on with an unfinished graph if there is a sound one: up to where it has rows, and from where on some
    of them are held back; (0, 0) if there is none."""
    try:
        seal = json.loads(_seal_of(part).read_text())
        done, begun = seal["rows"], seal["begun"]
        if _crc(part) != seal["crc"] or not 0 <= begun < done <= rows:
            return 0, 0
        _read(index, metric, part, index.load_index_from_path)
    except (FileNotFoundError, ValueError, KeyError, TypeError, DamagedState):
        return 0, 0
    held = held_back(begun, rows)
    return (done, begun) if len(index) == done - int((held < done).sum()) else (0, 0)


def _crc(path: pathlib.Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while part := file.read(1 << 22):
            crc = zlib.crc32(part, crc)
    return crc
