"""The embedder `hashed`: golden vectors, no matter the machine, the order of sums, or who asks with whom."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flow_embedders.hashed import HashedConfig
from flow_embedders.projection import Hashed, Projection
from flowcore.config import ConfigError, Document, NothingKnown, structure
from flowcore.routing import Embedder, Identity

if TYPE_CHECKING:
    from flowcore.routing import Vectors

GOLDEN = {
    "set an alarm for seven": "76ced0b9f2079376",
    "Wie ist das Wetter in Köln?": "df2b7c15cc2ffc14",
    "明日の天気": "16ad1ea295fdc54b",
    "spam " * 5000: "14b5f66e01dd695b",
    "abcdefghij" * 2000: "61678e4e04ed7cb1",
}
PROJECT = Projection(384)


def embedder(dimensions: int = 384, max_characters: int = 20_000, cache: int = 1 << 20) -> Hashed:
    return Hashed(dimensions, max_characters, cache)


def fingerprint(vector: Vectors) -> str:
    return hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("text", GOLDEN, ids=lambda text: text[:10])
def test_vectors_are_what_they_were_byte_for_byte(text: str) -> None:
    assert fingerprint(PROJECT(text)) == GOLDEN[text]


PROGRAM = """
from flow_embedders.projection import Projection
import hashlib
project = Projection(100)
print(hashlib.sha256(b"".join(project(f"text {n} about {n * n}").tobytes() for n in range(50))).hexdigest())
"""


def test_neither_hash_seed_nor_processor_nor_threads_change_a_byte() -> None:
    outputs = set()
    for seed, features, threads in (("0", "", "1"), ("1", "AVX2 AVX512F FMA3", "2")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        env["NPY_DISABLE_CPU_FEATURES"] = features
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


@given(st.text(max_size=200), st.sampled_from([16, 17, 384, 4096]))
def test_each_vector_has_length_one_or_says_nothing(text: str, dimensions: int) -> None:
    vector = Projection(dimensions)(text) if dimensions != 384 else PROJECT(text)
    assert vector.shape == (dimensions,)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    assert length == pytest.approx(1, abs=1e-6) or not vector.any()


def test_it_keeps_cosines_of_the_features_about_as_they_are() -> None:
    near = PROJECT("remind me to buy milk") @ PROJECT("a reminder to buy some milk")
    far = PROJECT("remind me to buy milk") @ PROJECT("play the latest jazz album")
    assert near > 0.5
    assert abs(far) < 0.2


def test_common_words_say_little() -> None:
    question = PROJECT("what is the weather")
    assert question @ PROJECT("weather") > 0.8
    assert question @ PROJECT("what is the time") < 0.5


async def test_it_embeds_in_order_from_the_cache_or_not() -> None:
    one: Embedder = embedder()
    texts = ["one", "two", "one", "", "three" * 1000, "two"]
    first = await one.embed(texts)
    again = await one.embed(texts[::-1])
    assert first.tobytes() == again[::-1].tobytes()
    assert first.tobytes() == b"".join(PROJECT(text).tobytes() for text in texts)
    status = one.status()
    assert status["texts"] == 12
    assert status["cache"]["misses"] == 4
    assert status["cache"]["hits"] == 8
    assert status["seconds"] > 0


@pytest.mark.parametrize("text", ["of many words " * 1000, "x" * 20_000, "天気" * 10_000])
async def test_a_long_text_has_its_vector_and_others_their_turn(text: str) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        (vector,) = await embedder().embed([text])
        nursery.cancel_scope.cancel()
    assert vector.tobytes() == PROJECT(text).tobytes()
    assert turns > 2


async def test_of_a_long_text_the_beginning_counts_and_that_is_counted() -> None:
    one = embedder(max_characters=10)
    vectors = await one.embed(["0123456789", "0123456789 and more", "short"])
    assert vectors[0].tobytes() == vectors[1].tobytes()
    assert vectors[0].tobytes() != vectors[2].tobytes()
    assert one.status()["cut"] == 1


def test_what_changes_vectors_is_in_the_identity() -> None:
    assert embedder().identity == Identity(name="hashed", version="1.20000", dimensions=384)
    others = {embedder(17).identity, embedder(max_characters=7).identity, embedder().identity}
    assert len(others) == 3
    assert embedder(cache=0).identity == embedder().identity


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"dimensions": 8}, "dimensions: expected between 16 and 4096, not 8"),
        ({"max_characters": 0}, "max_characters: expected at least 1, not 0"),
        ({"dimension": 384}, "did you mean 'dimensions'"),
    ],
)
def test_wrong_settings_are_named(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        structure(Document(tree=table, folder=pathlib.Path()), HashedConfig, NothingKnown())
