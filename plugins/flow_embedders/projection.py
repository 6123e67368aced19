"""The engine of `hashed`: sparse features of a text, projected to a few dimensions, the same everywhere.

Each feature adds to one dimension in each of eight blocks, with a sign: the sparse Johnson-Lindenstrauss
transform by blocks (Kane, Nelson, "Sparser Johnson-Lindenstrauss Transforms", 2014). Dimensions and signs are
drawn from SHAKE-256. All is summed in whole numbers, so that no order of summing, no BLAS and no processor
gives another last bit: vectors of two machines are the same, byte for byte.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from hashlib import shake_256
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import trio

from flow_embedders.measures import of_embedder
from flowcore.routing import Identity, VectorCache
from flowcore.telemetry import Reading
from flowcore.text import Counting, Weights, features, words

if TYPE_CHECKING:
    from flowcore.routing import Vectors
    from flowcore.text import Features

VERSION = 1
"""Goes up with any change of a vector."""
_BUCKETS = 1 << 16
_BLOCKS = 8
_ONE = 1 << 20
"""What 1 is in the whole numbers that values are rounded to."""
_EXACT = 1024
"""Features up to which squares add up exactly in float64, too: to 8 n 2**40 at most, by Cauchy-Schwarz."""
_WEIGHTS = Weights(pairs=1 / 2, common=1 / 8)
_SLICE = 1_000
"""Characters after which others have their turn: half a millisecond, and three where no word is known."""
_WORDS = 32
"""Words of a long text after which others have their turn: soon even if each is as long as can be."""


class Projection:
    """Vectors from texts. Deterministic, and without state."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        drawn = np.frombuffer(
            shake_256(b"flowcore hashed %d" % VERSION).digest(_BUCKETS * _BLOCKS * 4), "<u4"
        )
        drawn = drawn.reshape(_BUCKETS, _BLOCKS).astype(np.int64)
        edges = np.arange(_BLOCKS + 1) * dimensions // _BLOCKS
        places = edges[:-1] + (drawn >> 1) % np.diff(edges)
        self._places = (places + dimensions * (drawn & 1)).astype(np.int16)
        """Shape (buckets, blocks): where a bucket adds; from `dimensions` on, where it takes away."""

    def __call__(self, text: str) -> Vectors:
        """Shape (dimensions,), of length one; zeros for a text without a word."""
        return self.of(features(text, _BUCKETS, _WEIGHTS))

    def of(self, found: Features) -> Vectors:
        """The vector of features, as `__call__` asks for them."""
        buckets, values = found
        if not len(buckets):
            return np.zeros(self.dimensions, np.float32)
        whole = np.rint(values.astype(np.float64) * _ONE)
        # float64 holds whole numbers up to 2**53 exactly, so the order of these sums is of no matter
        places = self._places.take(buckets, axis=0).reshape(-1)
        sums = np.bincount(places, whole.repeat(_BLOCKS), 2 * self.dimensions)
        apart = sums[: self.dimensions] - sums[self.dimensions :]
        vector: npt.NDArray[np.float64] = apart.astype(np.float64, copy=False)
        if len(buckets) < _EXACT:
            square = int(vector.dot(vector))
        else:
            numbers = vector.astype(np.int64)
            square = int(numbers @ numbers)
        return (vector / (math.sqrt(square) or 1.0)).astype(np.float32)

    async def in_turns(self, text: str) -> Vectors:
        """As `__call__`, for a long text: others have their turn in between."""
        counting = Counting(_BUCKETS, _WEIGHTS)
        found = words(text)
        for first in range(0, len(found), _WORDS):
            counting.add(found[first : first + _WORDS])
            await trio.lowlevel.checkpoint()
        return self.of(counting.features())


class Hashed:
    """The embedder `hashed`."""

    def __init__(self, dimensions: int, max_characters: int, cache: int) -> None:
        self._project = Projection(dimensions)
        self._max_characters = max_characters
        self._cache = VectorCache(cache)
        self._texts = 0
        self._cut = 0
        self._seconds = 0.0
        self.identity = Identity(
            name="hashed", version=f"{VERSION}.{max_characters}", dimensions=dimensions
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions). It takes turns with others: in Python a thread would not be faster."""
        most = self._max_characters
        self._texts += len(texts)
        self._cut += sum(len(text) > most for text in texts)
        return await self._cache.through(
            [text[:most] for text in texts], self._project.dimensions, self._make
        )

    async def _make(self, texts: list[str]) -> Vectors:
        made = np.empty((len(texts), self._project.dimensions), np.float32)
        seen = 0
        for row, text in enumerate(texts):
            began = time.perf_counter()
            if len(text) > _SLICE:
                made[row] = await self._project.in_turns(text)
            else:
                made[row] = self._project(text)
            self._seconds += time.perf_counter() - began
            seen += len(text) + 50
            if seen > _SLICE:
                seen = 0
                await trio.lowlevel.checkpoint()
        return made

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_embedder(self.status())

    def status(self) -> dict[str, Any]:
        """How many texts, how many of them were cut, seconds spent on them, and the cache."""
        return {
            "texts": self._texts,
            "cut": self._cut,
            "seconds": round(self._seconds, 6),
            "cache": self._cache.status(),
        }
