"""The weights of the gate, and what they make of a query.

The logit of expert e for a query with vector x (of length one) and hashed features f is

    z(e) = (c C[e] + W[e]) . x  +  U[e] . f  +  d words(e, f),

C[e] the mean vector of what the expert says of itself and words(e, f) what its words have in common with
the query's (`Described`), both with fixed factors c and d: so before anything is learned the gate ranks by
similarity, and what it learns, W and U, is what similarity does not know. In a gate that was trained anew
s M p(e) stands for c C[e] (`Metric`). U is used for the `shortlist` of
the experts that are best without it: of hundreds of experts all but a few dozens have no chance, and their
rows need not be read. It has a quarter of the buckets that features have: neighbours share a weight, which
accuracy does not notice, and what is read is four times as likely to be near the processor. The gate's
probabilities are the softmax of z over the experts.

Lessons move W and U by the gradient of a loss in z (`losses`), a row for each expert that the gradient is
not next to zero for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flow_gates.evidence import Described
from flow_gates.moe.metric import Metric
from flowcore.routing import give_way
from flowcore.text import BUCKETS, Features

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_SHARED = 2
"""Bits by which U has fewer buckets than features have."""
CELLS = BUCKETS >> _SHARED
"""Buckets of U."""
_AT_ONCE = 256
"""Buckets of U that are copied without others having their turn: a megabyte for a thousand experts."""
_TOGETHER = 16
"""Rows of U that are read at once: as many as are in one line of a cache."""
_LARGE = 1 << 21
"""Bytes of a large page of memory."""


class Scored(NamedTuple):
    """What the gate makes of a query, for the experts on its shortlist."""

    places: Places
    """Shape (n,): their rows."""
    logits: Floats
    """Shape (n,)."""
    said: Floats
    """Shape (rows,): the part of the logits that comes from words in descriptions, for every row."""


class Cells(NamedTuple):
    """Where the features of a text are in U."""

    starts: Places
    """Shape (n,): where the row of each feature's bucket begins, in U as one row of numbers."""
    values: Floats
    """Shape (n,): how much each feature counts."""


class Network:
    """W and U, with room for so many rows; rows are whatever `Slots` says."""

    def __init__(self, dimensions: int, shortlist: int, described: tuple[float, float]) -> None:
        self._dimensions = dimensions
        self._shortlist = shortlist
        self.of_vectors, self.of_words = described
        self.rows = 0
        self._used = 0
        """Rows from here on were never anybody's."""
        self.weights: Floats = np.zeros((0, dimensions), np.float32)
        """W."""
        self._said: Floats = np.zeros((0, dimensions), np.float32)
        """c C."""
        self._together: Floats = np.zeros((0, dimensions), np.float32)
        """c C + W, so that a query is multiplied once."""
        self.words: Floats = np.zeros((CELLS, 0), np.float32)
        """U, an expert in each column: a query reads few buckets of many experts, so those lie together."""
        self._worded = False
        """Whether any of U was ever moved: before, it is all zeros, and need not be read."""
        self._starts: Places = np.zeros(BUCKETS, np.int64)
        """Where the row of each bucket of features begins in U, as one row of numbers."""
        self._shut: Floats = np.zeros(0, np.float32)
        """0 for an expert that is there, minus infinity for one that is not."""
        self._closed = True
        """Whether there is any that is not."""
        self._free: Floats = np.zeros(0, np.float32)
        """0 for a row that is somebody's, minus infinity for one that is nobody's."""
        self.described: Described | None = None
        self.metric = Metric()
        """How vectors are compared."""

    def grow(self, rows: int) -> None:
        """Make room for as many rows."""
        if rows <= self.rows:
            return
        more = max(rows, self.rows + self.rows // 4, 16)
        self.weights = _grown(self.weights, more)
        self._said = _grown(self._said, more)
        self._together = _grown(self._together, more)
        # written to, all of it: memory that is only promised is made when a lesson first touches it, 2 MB
        # at a time, and that would be on the event loop
        words = np.empty((CELLS, more), np.float32)
        for start in range(0, CELLS, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            words[some, : self.rows] = self.words[some]
            words[some, self.rows :] = 0.0
            give_way()
        self.words = words
        self._shut = _grown(self._shut, more, -np.inf)
        self._free = _grown(self._free, more, -np.inf)
        self._starts = (np.arange(BUCKETS) >> _SHARED) * more
        self.rows = more

    def describe(self, described: Described, known: list[int], there: list[int]) -> None:
        """The experts as they are now: laid out in our rows, which rows are somebody's, and who is there."""
        self.described = described
        self._shut[:] = self._free[:] = -np.inf
        self._shut[there] = 0.0
        self._free[known] = 0.0
        self._used = max(known, default=-1) + 1
        self._closed = len(there) < self._used
        self.compare(self.metric)

    def compare(self, metric: Metric) -> None:
        """Compare vectors by a metric from now on."""
        self.metric = metric
        if self.described is None:
            return
        vectors = self.described.vectors
        self._said = (
            metric.rows(vectors) if metric.fitted else np.float32(self.of_vectors) * vectors
        )
        self._together = np.add(self._said, self.weights, _in_large_pages(self.weights.shape))

    def begin_anew(self, metric: Metric) -> None:
        """Have learned nothing but how vectors are compared."""
        self.weights[:] = 0.0
        self._worded = False
        for start in range(0, CELLS, _AT_ONCE):
            self.words[start : start + _AT_ONCE] = 0.0
            give_way()
        self.compare(metric)

    def clear(self, place: int) -> None:
        """Forget a row."""
        self.metric.forget(place)
        self.weights[place] = 0.0
        self._together[place] = 0.0
        self.words[:, place] = 0.0
        self._shut[place] = self._free[place] = -np.inf
        self._closed = True

    def open(self, place: int) -> None:
        """A row is somebody's now."""
        self._free[place] = 0.0
        self._used = max(self._used, place + 1)
        self._closed = True

    def score(
        self,
        vector: Floats,
        features: Features,
        cells: Cells,
        but: Floats | None = None,
        also: Collection[int] = (),
        anyway: int = -1,
    ) -> Scored:
        """The best experts by everything but U, with their whole logits.

        `but` is added to all: minus infinity for those that may not be chosen. `also` are rows that are on
        the list whatever they are worth, if they are there. With `anyway`, a row that is always on it, the
        others are all that have rows, whether or not they are there: that is how lessons are learned.
        """
        used = self._used
        logits = self._together[:used].dot(vector)
        if self.described is None:
            said = np.zeros(used, np.float32)
        else:
            said = self.described.words.scores(features, self.of_words)[:used]
            logits += said
        open_to = logits
        if self._closed:
            open_to = logits + (self._shut if anyway < 0 else self._free)[:used]
        if but is not None:
            open_to = open_to + but[:used]
        if also or anyway >= 0:
            if open_to is logits:
                open_to = logits.copy()
            if also:
                rows = [*also]
                open_to[rows] = np.where(open_to.take(rows) > -np.inf, np.inf, -np.inf)
            if anyway >= 0:
                open_to[anyway] = np.inf
        least = -np.inf
        if used > self._shortlist:
            at = used - self._shortlist
            parted = open_to.copy()
            parted.partition(at)
            least = float(parted[at])
        if least > -np.inf:
            places = (open_to >= least).nonzero()[0][: self._shortlist]
        else:
            places = (open_to > -np.inf).nonzero()[0]
        whole = logits.take(places)
        if self._worded:
            whole += self.of_features(places, cells)
        return Scored(places, whole, said)

    def cells(self, features: Features) -> Cells:
        """Where features are in U, for as long as there are so many rows."""
        return Cells(self._starts.take(features.buckets), features.values)

    def of_features(self, places: Places, cells: Cells) -> Floats:
        """Shape (n,): U[e] . f for some experts.

        Expert by expert: one cell after the other lies in another line of memory, so that many are waited
        for at once.
        """
        found = self.words.reshape(-1).take(places[:, np.newaxis] + cells.starts)
        product: Floats = found.dot(cells.values)
        return product

    def of_vector(self, places: Places, vector: Floats) -> Floats:
        """Shape (n,): (c C[e] + W[e]) . x for some experts."""
        product: Floats = self._together.take(places, axis=0).dot(vector)
        return product

    def of_said(self, places: Places, vector: Floats) -> Floats:
        """Shape (n,): c C[e] . x for some experts."""
        product: Floats = self._said.take(places, axis=0).dot(vector)
        return product

    def moved(self, places: Places, weights: Floats) -> None:
        """Take over new rows of W."""
        self.weights[places] = weights
        together = self._said.take(places, axis=0)
        together += weights
        self._together[places] = together

    def move_words(self, places: Places, by: Floats, cells: Sequence[Cells]) -> None:
        """Add to U: for each of these experts, at least one, a number times the features of a text.

        `by` has shape (n,), and `cells` the features of each. An expert may be there several times.
        """
        lengths = [len(one.starts) for one in cells]
        where = np.concatenate([one.starts for one in cells])
        where += places.repeat(lengths)
        more = np.concatenate([one.values for one in cells])
        more *= by.repeat(lengths)
        self._worded = True
        np.add.at(self.words.reshape(-1), where, more)  # two features may share a cell

    def worded(self, rows: int) -> Iterator[tuple[int, Places, Floats]]:
        """The rows of U that are not all zeros: which, where they are not, and what they are."""
        for start in range(0, rows, _TOGETHER):
            block = np.ascontiguousarray(self.words[:, start : min(start + _TOGETHER, rows)].T)
            give_way()
            for row, values in enumerate(block, start):
                places = values.nonzero()[0]
                if len(places):
                    yield row, places, values.take(places)

    def restore(
        self, weights: Floats, words: dict[int, tuple[Places, Floats]], metric: Metric
    ) -> None:
        """Take over W, U and the metric as they were; who is there must be laid out anew."""
        self.rows = self._used = 0
        self.metric = metric
        self.weights = self.weights[:0]
        self._said = self._together = self._together[:0]
        self.words = self.words[:, :0]
        self._shut, self._free = self._shut[:0], self._free[:0]
        self.described = None
        self.grow(len(weights))
        self.weights[: len(weights)] = weights
        self._worded = bool(words)
        for row, (buckets, values) in words.items():
            self.words[buckets, row] = values


def _in_large_pages(shape: tuple[int, ...]) -> Floats:
    """An array that is not yet written to, where the system keeps memory in large pages if it does at all.

    numpy asks for these from 4 MiB on, so some is asked for that is never touched. What each query reads from
    end to end is read a seventh faster so.
    """
    size = math.prod(shape) * 4
    memory = np.empty(max(size, 2 * _LARGE) + _LARGE, np.uint8)
    start = -memory.ctypes.data % _LARGE
    return memory[start : start + size].view(np.float32).reshape(shape)


def _grown(array: Floats, rows: int, otherwise: float = 0.0) -> Floats:
    grown = np.full((rows, *array.shape[1:]), otherwise, np.float32)
    grown[: len(array)] = array
    return grown
