"""Hashed features: golden ones, which no machine and no version may change."""

from __future__ import annotations

import hashlib
from collections import Counter
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.text import COMMON, Counting, Features, features, words

GOLDEN = {
    "": "e3b0c44298fc1c14",
    "set an alarm": "1d473095972e29de",
    "Wie ist das Wetter in Köln?": "96d98e8992e00512",
    "the the the": "089cdf775509f528",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz": "ee063e4e9e69fbe9",
}


def fingerprint(of: Features) -> str:
    buckets, values = (of.buckets.astype("<i4"), of.values.astype("<f4"))
    return hashlib.sha256(buckets.tobytes() + values.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("text", GOLDEN)
def test_features_are_what_they_were(text: str) -> None:
    assert fingerprint(features(text)) == GOLDEN[text]


@given(st.lists(st.text(alphabet="ab 日", max_size=20), max_size=6))
def test_counting_in_parts_gives_the_same(texts: list[str]) -> None:
    counting = Counting(1 << 10, pairs=0.5, common=0.25)
    for text in texts:
        counting.add(words(text))
    whole = features(" ".join(texts), 1 << 10, pairs=0.5, common=0.25)
    assert fingerprint(counting.features()) == fingerprint(whole)


def plainly(text: str, buckets: int, pairs: float, common: float) -> dict[int, float]:
    """Likewise, as it is described: nothing remembered, nothing exact."""
    counts: Counter[int] = Counter()
    shift = 33 - buckets.bit_length()

    def count(gram: str, weight: float) -> None:
        if weight:
            counts[crc32(gram.encode()) >> shift] += weight  # type: ignore[assignment]

    found = words(text)
    for before, word in zip(["", *found], found, strict=False):
        weight = common if word in COMMON else 1.0
        count(f"w{word}", weight)
        if before:
            count(f"b{before} {word}", pairs)
        marked = f"<{word}>"
        for size in (3, 4, 5):
            for start in range(len(marked) - size + 1):
                count(marked[start : start + size], weight / 2)
    total = sum(counts.values())
    return {bucket: (weight / total) ** 0.5 for bucket, weight in counts.items()}


@given(
    st.text(alphabet=st.sampled_from("abtheé Ω日.,"), max_size=60),
    st.sampled_from([1 << 8, 1 << 14, 1 << 20]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.125, 1.0]),
)
def test_features_are_words_pairs_and_runs(
    text: str, buckets: int, pairs: float, common: float
) -> None:
    made = features(text, buckets, pairs=pairs, common=common)
    expected = plainly(text, buckets, pairs, common)
    assert made.buckets.dtype == np.int32
    assert made.values.dtype == np.float32
    assert made.buckets.tolist() == list(expected)
    assert made.values.tolist() == pytest.approx(list(expected.values()), rel=1e-6)
    if expected:
        assert float(np.square(made.values, dtype=np.float64).sum()) == pytest.approx(1, abs=1e-6)
