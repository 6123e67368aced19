"""What words in common are worth: the index says what its formula says."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flow_gates.evidence.words import WordIndex, bag
from flowcore.text import BUCKETS, features

WORDS = ["wire", "euros", "song", "clock", "rain", "noon", "file", "pay", "hear", "change"]
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


def by_the_formula(said: list[str], asked: str) -> list[float]:
    """The cosine of two bags, weighed by inverse document frequency, each feature looked at alone."""
    bags = [bag([features(one, BUCKETS)]) for one in said]
    own = [dict(zip(one.buckets.tolist(), one.values.tolist(), strict=True)) for one in bags]
    count = sum(bool(one) for one in own)

    def idf(bucket: int) -> float:
        having = sum(bucket in one for one in own)
        return math.log1p((count - having + 0.5) / (having + 0.5))

    # of a feature that nobody has: no other has more, and what all are divided by cancels out
    most = math.log1p(2 * count + 1)
    found = features(asked, BUCKETS)
    query = dict(zip(found.buckets.tolist(), found.values.tolist(), strict=True))
    query = {bucket: value * idf(bucket) / most for bucket, value in query.items()}
    length = math.sqrt(sum(value * value for value in query.values()))
    scores = []
    for one in own:
        weighed = {bucket: value * idf(bucket) / most for bucket, value in one.items()}
        size = math.sqrt(sum(value * value for value in weighed.values()))
        common = sum(value * query.get(bucket, 0.0) for bucket, value in weighed.items())
        scores.append(common / (size * length) if size and length else 0.0)
    return scores


@given(st.lists(texts, min_size=1, max_size=8), texts)
def test_scores_are_what_the_formula_says(said: list[str], asked: str) -> None:
    index = WordIndex([bag([features(one, BUCKETS)]) for one in said])
    scores = index.scores(features(asked, BUCKETS), 3.0)
    np.testing.assert_allclose(scores, 3 * np.array(by_the_formula(said, asked)), atol=1e-5)
