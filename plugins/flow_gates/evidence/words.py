"""Words that a request and an expert's own texts have in common, weighed by how rare they are.

Each expert is a bag of hashed features: the sum of those of its texts, so that a short name counts as much
as a long description. Features are weighed by their inverse document frequency among the experts, in the
form of BM25 (Robertson, Zaragoza, "The Probabilistic Relevance Framework", 2009, section 3.2)

    idf(b) = ln(1 + (N - n(b) + 1/2) / (n(b) + 1/2)),

N experts, n(b) of them with feature b, and two bags are compared by their cosine, times (u / 8)^length with
u the length of the expert's bag as counted. It differs from BM25 in that the frequency within a text is
dampened by a square root, and length by this power: 0 is the cosine, 1 counts what is in common as it is.
Between them, words count for more where experts say much, so that few of their words in common tell much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flowcore.text import BUCKETS, Features

Floats = npt.NDArray[np.float32]

_MANY = 50
_COMMON = 0.25
"""A feature that more than a quarter of many experts have counts for nothing."""
_USUAL = 8.0
"""The length of the bag of a short description."""
_POSTING = np.dtype([("expert", np.int32), ("value", np.float32)])
"""An expert that has a feature, and how much: together, so that both come from one line of memory."""


def bag(parts: Sequence[Features]) -> Features:
    """One bag of features for several texts that count alike; of length one, in the order of buckets."""
    if not any(len(part.buckets) for part in parts):
        return Features(np.empty(0, np.int32), np.empty(0, np.float32))
    buckets, place = np.unique(
        np.concatenate([part.buckets for part in parts]), return_inverse=True
    )
    values = np.bincount(place, np.concatenate([part.values for part in parts]))
    scaled = values / np.sqrt(values @ values)
    return Features(buckets.astype(np.int32), scaled.astype(np.float32))


class WordIndex:
    """An inverted index over the bags of experts: for each feature those that have it, and how much."""

    def __init__(
        self, bags: Sequence[Features], said: Sequence[int] = (), length: float = 0.0
    ) -> None:
        """`bags` has one for each row; an empty one for a row without an expert.

        `said` is how many features the texts of each had; `length` how far that counts, 0 to 1.
        """
        self._rows = len(bags)
        lengths = [len(one.buckets) for one in bags]
        buckets = np.concatenate([one.buckets for one in bags]) if bags else np.empty(0, np.int32)
        experts = np.repeat(np.arange(self._rows), lengths)
        having = np.bincount(buckets, minlength=BUCKETS)
        count = sum(length > 0 for length in lengths)
        idf = np.log1p((count - having + 0.5) / (having + 0.5))
        if count >= _MANY:
            # what most have tells nobody apart, and its list would take most of the time
            idf[having > _COMMON * count] = 0.0
        idf /= idf.max(initial=1e-9)
        self._idf = idf.astype(np.float32)
        values = np.concatenate([one.values for one in bags]) if bags else np.empty(0, np.float32)
        values = values * idf[buckets]
        squares = np.bincount(experts, values * values, self._rows)
        lengths_of = np.sqrt(np.maximum(squares, 1e-12))
        factors = np.ones(self._rows)
        if length:
            factors = (lengths_of * np.sqrt(np.maximum(said, 1)) / _USUAL) ** length
        values = values * (factors / lengths_of)[experts]
        telling = values > 0
        buckets, experts, values = buckets[telling], experts[telling], values[telling]
        order = buckets.astype(np.uint16).argsort(kind="stable")  # of 16 bits: sorted by radix
        self._postings = np.empty(len(order), _POSTING)
        self._postings["expert"] = experts[order]
        self._postings["value"] = values[order]
        counts = np.bincount(buckets, minlength=BUCKETS)
        self._counts = counts.astype(np.int64)
        self._ends = counts.cumsum().astype(np.int64)
        self._numbers = np.arange(0)

    def _along(self, total: int) -> npt.NDArray[np.int64]:
        """0, 1, 2, ... so many; kept, for it is asked for each time."""
        if total > len(self._numbers):
            self._numbers = np.arange(2 * total)
        return self._numbers[:total]

    def scores(self, query: Features, factor: float = 1.0) -> Floats:
        """Shape (rows,): what each expert's bag has in common with the query, times a factor."""
        buckets = query.buckets
        weights = query.values * self._idf.take(buckets)
        square = float(weights.dot(weights))
        counts = self._counts.take(buckets)
        ends = counts.cumsum()
        total = int(ends[-1]) if len(ends) else 0
        if not total or not square:
            return np.zeros(self._rows, np.float32)
        # the places of all postings of all features of the query, one after the other
        places = (self._ends.take(buckets) - ends).repeat(counts)
        places += self._along(total)
        weights *= factor / math.sqrt(square)
        found = weights.repeat(counts)
        postings = self._postings.take(places)
        found *= postings["value"]
        scores: Floats = np.bincount(postings["expert"], found, self._rows).astype(np.float32)
        return scores
