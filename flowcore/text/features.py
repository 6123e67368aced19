"""A text as a sparse vector of hashed features.

The hashing trick (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009) over
words, pairs of neighbouring words, and runs of 3 to 5 characters within a word, whose ends are marked
(Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017). CRC-32 is the hash, so that
every machine and every version of Python gives the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 14
"""How many buckets there are unless it is said."""

_WORD = re.compile(r"\w+")
_RUNS = (3, 4, 5)
_RUN_WEIGHT = 0.5


class Features(NamedTuple):
    """A sparse vector of length one; empty for a text without a word."""

    buckets: npt.NDArray[np.int32]
    """Shape (n,), each once, in the order in which the text first has them."""
    values: npt.NDArray[np.float32]
    """Shape (n,): the square root of how often each occurs, scaled to length one together."""


def features(text: str, buckets: int = BUCKETS) -> Features:
    """The features of a text. `buckets` is a power of two."""
    shift = 33 - buckets.bit_length()
    weights: dict[int, float] = {}
    for gram, weight in _grams(text):
        bucket = crc32(gram.encode("utf-8", "surrogatepass")) >> shift
        weights[bucket] = weights.get(bucket, 0.0) + weight
    total = sum(weights.values())  # of halves: exact in any order
    values = (math.sqrt(weight / total) for weight in weights.values())
    return Features(
        np.fromiter(weights, np.int32, len(weights)), np.fromiter(values, np.float32, len(weights))
    )


def _grams(text: str) -> Iterator[tuple[str, float]]:
    before = ""
    for word in _WORD.findall(text.lower()):
        yield f"w{word}", 1.0
        if before:
            yield f"b{before} {word}", 1.0
        before = word
        marked = f"<{word}>"
        for length in _RUNS:
            for start in range(len(marked) - length + 1):
                yield marked[start : start + length], _RUN_WEIGHT
