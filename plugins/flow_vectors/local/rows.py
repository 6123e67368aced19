"""Rows of vectors: the front, in memory, and segments, in files; which of them are alive at which version.

Every change has a version. A row is there for a search that began at version v if it had been added by then
and did not die until v: so a search sees all of a change or nothing of it, and waits for nobody.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from flow_vectors.checking import Ids, Mask, Vectors
from flow_vectors.local import files
from flow_vectors.local.graphs import Graph
from flowcore.routing import give_way

ALIVE = np.iinfo(np.int64).max
"""The version at which what is alive dies."""
NOBODY = -1
"""The id of a row that is there only because a graph has it."""
_ENTRIES = 2048
"""Places that are given up at a time."""
_T = TypeVar("_T", bound=np.generic)
Versions = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]


@attrs.define(eq=False)
class Segment:
    """Rows in a file, sorted by id; or those that a graph was gone on with, in its order, and then others."""

    name: str
    ids: Ids
    """Of each row; `NOBODY` for one that was dead when it was written."""
    rows: Vectors
    died: Versions
    dead: int = 0
    graph: Graph | None = None
    order: Rows | None = None
    """The rows in the order of their ids; None if they are in it."""

    @property
    def alive(self) -> int:
        """How many rows are alive now."""
        return len(self.ids) - self.dead

    @property
    def bytes(self) -> int:
        """What it takes besides its file and its graph."""
        return self.died.nbytes + (0 if self.order is None else self.order.nbytes)

    def find(self, ids: Ids) -> Rows:
        """The rows of those ids that are here and alive."""
        if not len(self.ids):
            return np.empty(0, dtype=np.intp)
        at = self.rows_of(ids)
        at = at[self.ids[at] == ids]
        found: Rows = at[self.died[at] == ALIVE]
        return found

    def rows_of(self, ids: Ids) -> Rows:
        """The row of each of those ids; any row of one that is not here. There are rows."""
        at: Rows = self.ids.searchsorted(ids, sorter=self.order)
        at[at == len(self.ids)] = 0
        return at if self.order is None else self.order.take(at)

    def kill(self, rows: npt.NDArray[np.intp], version: int) -> int:
        """They are dead from this version on; how many."""
        self.died[rows] = version
        self.dead += len(rows)
        return len(rows)

    def mask(self, version: int) -> Callable[[int, int], Mask | None]:
        """Which rows of a block are alive at a version; None for all."""
        if not self.dead:
            return _all
        return lambda start, stop: self.died[start:stop] > version


def _all(start: int, stop: int) -> None:
    return None


@attrs.define(eq=False)
class Front:
    """Rows in memory, in the order of their coming; the arrays have room for more."""

    ids: Ids
    rows: Vectors
    died: Versions
    count: int = 0
    places: dict[int, int] = attrs.field(factory=dict)
    """The row of each id that is alive."""

    @classmethod
    def empty(cls, dimensions: int) -> Front:
        return cls(
            np.empty(0, dtype=np.int64),
            np.empty((0, dimensions), dtype=np.float32),
            np.empty(0, dtype=np.int64),
        )

    @property
    def bytes(self) -> int:
        """What it takes: its arrays, and about 100 bytes for an entry of `places`."""
        return self.ids.nbytes + self.rows.nbytes + self.died.nbytes + 100 * len(self.places)

    def reserve(self, count: int) -> None:
        """Make room for so many more."""
        needed = self.count + count
        if needed > len(self.ids):
            room = max(needed, 2 * len(self.ids), 64)
            ids = _grown(self.ids, room, self.count)
            rows = _grown(self.rows, room, self.count)
            died = _grown(self.died, room, self.count)
            self.ids, self.rows, self.died = ids, rows, died

    def append(self, ids: Ids, vectors: Vectors) -> None:
        """Add rows. A search that began before does not look at them: it knows its count."""
        self.reserve(len(ids))
        needed = self.count + len(ids)
        self.ids[self.count : needed] = ids
        self.rows[self.count : needed] = vectors
        self.died[self.count : needed] = ALIVE
        self.places.update(zip(ids.tolist(), range(self.count, needed), strict=True))
        self.count = needed

    def kill(self, ids: Ids, version: int) -> int:
        """Those ids are dead from this version on; how many were here."""
        here = [row for one in ids.tolist() if (row := self.places.pop(one, None)) is not None]
        self.died[here] = version
        return len(here)

    def let_go(self) -> None:
        """Be empty, when it is not used any more; in a thread, which lets others have their turn."""
        while self.places:
            for _ in range(min(_ENTRIES, len(self.places))):
                self.places.popitem()
            give_way()
        self.ids, self.rows, self.died = (
            self.ids[:0].copy(),
            self.rows[:0].copy(),
            self.died[:0].copy(),
        )

    def without(self, count: int) -> Front:
        """What is left when the first rows have become a segment."""
        left = Front.empty(self.rows.shape[1])
        kept = np.flatnonzero(self.died[count : self.count] == ALIVE) + count
        left.append(self.ids[kept], self.rows[kept])
        return left


def _grown(array: npt.NDArray[_T], room: int, count: int) -> npt.NDArray[_T]:
    made = np.empty((room, *array.shape[1:]), dtype=array.dtype)
    made[:count] = array[:count]
    return made


@attrs.frozen(eq=False)
class Snapshot:
    """Everything that there is at a version: what a search works on."""

    version: int
    ids: Ids
    rows: Vectors
    died: Versions
    segments: tuple[Segment, ...]
    """The arrays before are the front's."""
    graphs: tuple[Graph, ...]
    """Those of the segments that have one."""
    each: int
    """How many rows an unfiltered search looks at one by one."""
    mapped: bool
    """Whether a graph is read from a mapped file."""
    whole: bool
    """Whether all rows of the front are alive."""

    def front_mask(self, start: int, stop: int) -> Mask | None:
        """Which rows of the front are alive; None for all."""
        if self.whole:
            return None
        mask: Mask = self.died[start:stop] > self.version
        return mask


@attrs.frozen(eq=False)
class Part:
    """Some rows of a table, to be written elsewhere."""

    ids: Ids
    """Those of the rows that are kept."""
    rows: Vectors
    """All rows."""
    kept: Rows


def alive_at(ids: Ids, rows: Vectors, died: Versions, version: int) -> Part:
    """What of a table is alive at a version."""
    kept = np.flatnonzero(died > version)
    return Part(np.asarray(ids)[kept], rows, kept)


def whole_at(ids: Ids, rows: Vectors, died: Versions, version: int) -> Part:
    """All of a table, in its order; what is dead at a version is nobody's."""
    return Part(np.where(died > version, ids, NOBODY), rows, np.arange(len(ids)))


def write_rows(
    path: pathlib.Path,
    parts: list[Part],
    dimensions: int,
    progress: Callable[[int], None],
    first: int = 0,
) -> None:
    """Write rows as a segment's file, sorted by id but for the `first`, which keep their places; nobody's
    apart, no id is twice in them. Raises OSError."""
    ids = np.concatenate([one.ids for one in parts])
    bounds = np.cumsum([0, *(len(one.ids) for one in parts)])
    order = np.concatenate([np.arange(first), first + np.argsort(ids[first:], kind="stable")])
    count = len(ids)
    arrays = [("ids", "<i8", (count,)), ("rows", "<f4", (count, dimensions))]
    with files.writing(path, {"what": "rows"}, arrays) as writer:
        writer.put(ids[order].astype("<i8", copy=False))
        for start in range(0, count, _BLOCK):
            progress(start)
            chosen = order[start : start + _BLOCK]
            made = np.empty((len(chosen), dimensions), dtype="<f4")
            for number, one in enumerate(parts):
                here = (chosen >= bounds[number]) & (chosen < bounds[number + 1])
                made[here] = one.rows[one.kept[chosen[here] - bounds[number]]]
            writer.put(made)


_BLOCK = 8192


def read_rows(folder: pathlib.Path, name: str) -> Segment:
    """A segment from its file, all of it alive that is anybody's. Raises DamagedState."""
    _, arrays = files.read(folder / f"{name}.rows")
    ids = arrays["ids"]
    somebody = ids >= 0
    died = np.where(somebody, ALIVE, 0)
    order = None if bool((ids[1:] > ids[:-1]).all()) else np.argsort(ids, kind="stable")
    dead = len(ids) - int(np.count_nonzero(somebody))
    return Segment(name, ids, arrays["rows"], died, dead, order=order)
