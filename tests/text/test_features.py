"""Hashed features: golden ones, which no machine and no version may change."""

from __future__ import annotations

import hashlib
from collections import Counter
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.text import COMMON, FREQUENT, Counting, Features, Weights, features, words

GOLDEN = {
    "": "e3b0c44298fc1c14",
    "set an alarm": "e31f681c75548f3c",
    "Wie ist das Wetter in Köln?": "b8b9442f90029667",
    "the the the": "b08b6dacdcbee6cc",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz": "be2838f18ff89099",
}


def fingerprint(of: Features) -> str:
    buckets, values = (of.buckets.astype("<i4"), of.values.astype("<f4"))
    return hashlib.sha256(buckets.tobytes() + values.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("text", GOLDEN)
def test_features_are_what_they_were(text: str) -> None:
    assert fingerprint(features(text)) == GOLDEN[text]


@given(st.lists(st.text(alphabet="ab 日", max_size=20), max_size=6))
def test_counting_in_parts_gives_the_same(texts: list[str]) -> None:
    counting = Counting(1 << 10, Weights(pairs=0.5, common=0.25))
    for text in texts:
        counting.add(words(text))
    whole = features(" ".join(texts), 1 << 10, Weights(pairs=0.5, common=0.25))
    assert fingerprint(counting.features()) == fingerprint(whole)


def plainly(text: str, buckets: int, weights: Weights) -> dict[int, float]:
    """Likewise, as it is described: nothing remembered, nothing exact."""
    counts: Counter[int] = Counter()
    shift = 33 - buckets.bit_length()

    def count(gram: str, weight: float) -> None:
        if weight:
            counts[crc32(gram.encode()) >> shift] += weight  # type: ignore[assignment]

    found = words(text)
    for before, word in zip(["", *found], found, strict=False):
        frequent = weights.frequent if word in FREQUENT else 1.0
        weight = weights.common if word in COMMON else frequent
        count(f"w{word}", weight)
        if before:
            count(f"b{before} {word}", weights.pairs)
        marked = f"<{word}>"
        for size in (3, 4, 5):
            for start in range(len(marked) - size + 1):
                run = marked[start : start + size]
                inner = weights.short if size == 3 else weights.long
                one = weights.ends if run.endswith(">") else inner
                count(run, weight * (weights.beginnings if run.startswith("<") else one))
    total = sum(counts.values())
    return {bucket: (weight / total) ** 0.5 for bucket, weight in sorted(counts.items())}


def as_described(made: Features, expected: dict[int, float]) -> None:
    assert made.buckets.dtype == np.int32
    assert made.values.dtype == np.float32
    assert made.buckets.tolist() == list(expected)
    assert made.values.tolist() == pytest.approx(list(expected.values()), rel=1e-6)
    if expected:
        assert float(np.square(made.values, dtype=np.float64).sum()) == pytest.approx(1, abs=1e-6)


WEIGHTS = st.builds(
    Weights,
    pairs=st.sampled_from([0.0, 0.5, 1.0]),
    beginnings=st.sampled_from([0.0, 0.5, 1.5]),
    short=st.sampled_from([0.0, 0.5]),
    long=st.sampled_from([0.0, 0.5]),
    ends=st.sampled_from([0.0, 0.5]),
    common=st.sampled_from([0.125, 1.0]),
    frequent=st.sampled_from([0.5, 1.0]),
)


@given(
    st.text(alphabet=st.sampled_from("abtheé Ω日.,"), max_size=60)
    | st.lists(st.sampled_from(["the", "make", "time", "zebra"]), max_size=5).map(" ".join),
    st.sampled_from([1 << 8, 1 << 14, 1 << 20]),
    WEIGHTS,
)
def test_features_are_words_pairs_and_runs(text: str, buckets: int, weights: Weights) -> None:
    as_described(features(text, buckets, weights), plainly(text, buckets, weights))


@pytest.mark.parametrize("weights", [Weights(), Weights(pairs=0.0, ends=0.0)])
def test_a_long_text_is_counted_as_a_short_one_is(weights: Weights) -> None:
    text = " ".join(f"word{number * number}" for number in range(900))
    as_described(features(text, 1 << 12, weights), plainly(text, 1 << 12, weights))


def test_who_asks_second_for_a_text_gets_what_the_first_would_have() -> None:
    text = "the same text, asked for twice"
    first = features(text, 1 << 16, Weights(common=0.125))
    other = features(text, 1 << 10, Weights(pairs=0.5))
    assert fingerprint(features(text, 1 << 16, Weights(common=0.125))) == fingerprint(first)
    as_described(other, plainly(text, 1 << 10, Weights(pairs=0.5)))
