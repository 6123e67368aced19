"""A text as a sparse vector of hashed features.

The hashing trick (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009) over
words, pairs of neighbouring words, and runs of 3 to 5 characters within a word, whose ends are marked
(Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017). CRC-32 is the hash, so that
every machine and every version of Python gives the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from flowcore.text.letters import COMMON, words

BUCKETS = 1 << 14
"""How many buckets there are unless it is said."""

_RUNS = (3, 4, 5)
_RUN_WEIGHT = 0.5
_REMEMBERED = 24
"""Characters of the longest words whose hashes are remembered."""


class Features(NamedTuple):
    """A sparse vector of length one; empty for a text without a word."""

    buckets: npt.NDArray[np.int32]
    """Shape (n,), each once, in the order in which the text first has them."""
    values: npt.NDArray[np.float32]
    """Shape (n,): the square root of how often each occurs, scaled to length one together."""


def features(
    text: str, buckets: int = BUCKETS, *, pairs: float = 1.0, common: float = 1.0
) -> Features:
    """The features of a text. `buckets` is a power of two.

    `pairs` is what a pair of words counts beside a word, `common` what a common word of English counts beside
    another one: both 1 at most, in 64ths, so that sums are exact in any order.
    """
    counting = Counting(buckets, pairs=pairs, common=common)
    counting.add(words(text))
    return counting.features()


class Counting:
    """The features of a text whose words come in parts: as `features` of the whole."""

    def __init__(self, buckets: int = BUCKETS, *, pairs: float = 1.0, common: float = 1.0) -> None:
        self._shift = 33 - buckets.bit_length()
        self._pairs = pairs
        self._common = common
        self._weights: dict[int, float] = {}
        self._before = b""

    def add(self, more: Iterable[str]) -> None:
        """Count the next words."""
        shift, pairs, weights, before = self._shift, self._pairs, self._weights, self._before
        for word in more:
            own, encoded, runs = _hashed(word) if len(word) <= _REMEMBERED else _hash(word)
            weight = self._common if word in COMMON else 1.0
            bucket = own >> shift
            weights[bucket] = weights.get(bucket, 0.0) + weight
            if before and pairs:
                bucket = crc32(encoded, crc32(before)) >> shift
                weights[bucket] = weights.get(bucket, 0.0) + pairs
            before = b"b%b " % encoded
            weight *= _RUN_WEIGHT
            for run in runs:
                bucket = run >> shift
                weights[bucket] = weights.get(bucket, 0.0) + weight
        self._before = before

    def features(self) -> Features:
        """Those of all words so far."""
        weights = self._weights
        counts = np.fromiter(weights.values(), np.float64, len(weights))
        # exact in any order, as are quotient and root by IEEE 754: rounded in one way everywhere
        values = np.sqrt(counts / (counts.sum() or 1.0))
        buckets = np.fromiter(weights, np.int32, len(weights))
        return Features(buckets, values.astype(np.float32))


def _hash(word: str) -> tuple[int, bytes, tuple[int, ...]]:
    """A word's own hash, the word as bytes, and the hashes of its runs of characters."""
    encoded = word.encode("utf-8", "surrogatepass")
    marked = f"<{word}>"
    runs = tuple(
        crc32(marked[start : start + length].encode("utf-8", "surrogatepass"))
        for length in _RUNS
        for start in range(len(marked) - length + 1)
    )
    return crc32(b"w%b" % encoded), encoded, runs


_hashed = functools.lru_cache(maxsize=8192)(_hash)
