"""Graphs beside segments: what a library builds of rows to find candidates fast, kept with its checksums."""

from __future__ import annotations

import json
import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from flow_vectors.checking import Ids, Vectors
from flow_vectors.local import files
from flowcore.errors import DamagedState
from flowcore.routing import Metric

logger = logging.getLogger(__name__)

Progress = Callable[[int], None]
"""Told how many rows are done; raises to have the work given up."""


class Graph(Protocol):
    """Finds rows that are probably near."""

    @property
    def memory(self) -> int:
        """Bytes of its own; what is mapped does not count."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a search would have to wait for another."""
        ...

    @property
    def mapped(self) -> bool:
        """Whether it is read from a mapped file, where the first to touch a page waits for the disk."""
        ...

    @property
    def told(self) -> Mapping[str, Any]:
        """What is worth to be known of it, for the status."""
        ...

    def at_least(self, candidates: int) -> None:
        """Look at so many candidates from now on, or at more, if it is told to by their number."""
        ...

    def candidates(self, query: Vectors, count: int, times: float = 1.0) -> Ids:
        """At least so many numbers of rows, of those that are probably nearest; the caller's to change.

        `times` as many are looked at and given as it takes by itself: not all of them are alive. Fewer than
        `count` if it finds no more.
        """
        ...


@attrs.frozen
class Base:
    """A graph of the first rows of those that one is built of, made with the same settings."""

    path: pathlib.Path
    rows: int
    told: Mapping[str, Any]


class GraphMaker(Protocol):
    """Builds graphs, and opens them again."""

    def further(self, candidates: int) -> int:
        """How many candidates graphs are to look at where so many find too little; as many: no more."""
        ...

    @property
    def made_with(self) -> Mapping[str, Any]:
        """What a graph depends on: one that was made with other settings is built again."""
        ...

    @property
    def least(self) -> int:
        """Rows below which it is faster to look at each."""
        ...

    @property
    def grows(self) -> bool:
        """Whether it goes on from the graph of other rows, rather than build all anew."""
        ...

    def build(
        self,
        rows: Vectors,
        path: pathlib.Path,
        metric: Metric,
        progress: Progress,
        base: Base | None = None,
    ) -> Mapping[str, Any]:
        """Write the graph of rows to a file, and say what is needed to open it; in a thread. Rows are as they
        are kept: of length one where they are compared by the cosine.

        Work that was given up is taken up where it left off, if `path` is the same; it may go on from
        `base`. Raises OSError.
        """
        ...

    def open(
        self, path: pathlib.Path, rows: Vectors, metric: Metric, told: Mapping[str, Any]
    ) -> Graph:
        """The graph of a file that has been checked. Raises DamagedState."""
        ...


def build(
    maker: GraphMaker,
    folder: pathlib.Path,
    name: str,
    rows: Vectors,
    metric: Metric,
    progress: Progress,
    base: str | None = None,
) -> Graph:
    """The graph of a segment, built, sealed and opened; `base` is a segment of its first rows that has one.

    Raises OSError.
    """
    path = folder / f"{name}.graph"
    beside = folder / f"{name}.graph.new"
    files.private(beside)
    told = maker.build(rows, beside, metric, progress, _base(folder, base))
    beside.chmod(files.PRIVATE)  # some libraries write another file in its place
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    seal = {
        "made_with": dict(maker.made_with),
        "rows": len(rows),
        "told": dict(told),
        "size": beside.stat().st_size,
        "crcs": files.checksums(beside),
    }
    os.replace(beside, path)
    with files.writing(folder / f"{name}.seal", seal, []):
        pass  # a file of no arrays: its header says it all, and is checked like any
    return maker.open(path, rows, metric, told)


def _base(folder: pathlib.Path, name: str | None) -> Base | None:
    """What is kept of a segment's graph, to go on from."""
    if name is None:
        return None
    try:
        seal, _ = files.read(folder / f"{name}.seal")
    except DamagedState:
        return None
    return Base(folder / f"{name}.graph", seal["rows"], seal["told"])


def reopened(
    maker: GraphMaker, folder: pathlib.Path, name: str, rows: Vectors, metric: Metric
) -> Graph | None:
    """The graph that is kept beside a segment, or None if it must be built (again): a reason is logged."""
    path = folder / f"{name}.graph"
    if not (folder / f"{name}.seal").exists():
        return None
    try:
        seal, _ = files.read(folder / f"{name}.seal")
        if seal["made_with"] != json.loads(json.dumps(dict(maker.made_with))):
            logger.info("%s: its graph was made with other settings, and is built again", path)
            return None
        if not path.exists() or seal["rows"] != len(rows) or path.stat().st_size != seal["size"]:
            raise DamagedState(f"{path.name} is not what was kept")
        data: npt.NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        files.check(data, seal["crcs"], path.name)
        return maker.open(path, rows, metric, seal["told"])
    except DamagedState as error:
        logger.warning("%s: %s: it is built again from its rows", folder, error)
        return None
