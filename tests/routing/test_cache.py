"""The cache of vectors: never larger than it may be, the latest kept, nothing mixed up."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flowcore.errors import EmbeddingFailed
from flowcore.routing import VectorCache

DIMENSIONS = 4


class Maker:
    """Makes vectors that tell their text, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, texts: list[str]) -> np.ndarray:
        await trio.lowlevel.checkpoint()
        assert len(set(texts)) == len(texts)
        self.asked += texts
        return np.array([vector(text) for text in texts], np.float32)


def vector(text: str) -> list[float]:
    return [float(len(text)), float(hash(text) % 1000), 1.0, 2.0]


@given(
    st.lists(st.lists(st.sampled_from(["", "a", "b", "x" * 300, "y" * 300, "\ud800" * 300]))),
    st.sampled_from([0, 400, 900, 10_000]),
)
async def test_it_gives_what_was_made_and_stays_within_its_size(
    calls: list[list[str]], size: int
) -> None:
    cache, make = VectorCache(size), Maker()
    for texts in calls:
        made = await cache.through(texts, DIMENSIONS, make)
        assert made.shape == (len(texts), DIMENSIONS)
        assert made.dtype == np.float32
        assert made.tolist() == [vector(text) for text in texts]
        made[:] = -1
        assert cache.status()["bytes"] <= size
    status = cache.status()
    assert status["misses"] == len(make.asked)
    assert status["hits"] + status["misses"] == sum(map(len, calls))


async def test_what_was_asked_for_last_is_kept() -> None:
    make = Maker()
    measured = VectorCache(1 << 20)
    await measured.through(["a"], DIMENSIONS, make)
    cache = VectorCache(2 * measured.status()["bytes"])
    await cache.through(["a", "b"], DIMENSIONS, make)
    await cache.through(["a"], DIMENSIONS, make)
    await cache.through(["c"], DIMENSIONS, make)
    make.asked.clear()
    await cache.through(["a", "c"], DIMENSIONS, make)
    assert make.asked == []
    await cache.through(["b"], DIMENSIONS, make)
    assert make.asked == ["b"]
    assert cache.status()["entries"] == 2


async def test_what_fails_is_not_kept() -> None:
    cache, make = VectorCache(1 << 20), Maker()

    async def fails(texts: list[str]) -> np.ndarray:
        raise EmbeddingFailed("not today")

    with pytest.raises(EmbeddingFailed):
        await cache.through(["a"], DIMENSIONS, fails)
    assert cache.status()["entries"] == 0
    assert (await cache.through(["a"], DIMENSIONS, make)).tolist() == [vector("a")]


async def test_a_maker_that_gives_too_few_is_found_out() -> None:
    async def few(texts: list[str]) -> np.ndarray:
        return np.zeros((len(texts) - 1, DIMENSIONS), np.float32)

    cache = VectorCache(1000)
    with pytest.raises(ValueError, match="shorter"):
        await cache.through(["a", "b"], DIMENSIONS, few)
    assert cache.status()["entries"] == 0


async def test_two_that_ask_for_the_same_at_once_both_get_it() -> None:
    cache, make = VectorCache(1 << 20), Maker()
    made: list[list[float]] = []

    async def ask() -> None:
        made.extend((await cache.through(["a"], DIMENSIONS, make)).tolist())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert made == [vector("a")] * 2
    assert cache.status()["entries"] == 1


async def test_of_many_texts_others_have_their_turn_all_the_way() -> None:
    cache, texts, turns = VectorCache(1 << 20), [str(number) for number in range(2000)], 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def make(texts: list[str]) -> np.ndarray:
        return np.array([vector(text) for text in texts], np.float32)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        for _ in range(2):  # made, and then from the cache
            before = turns
            found = await cache.through(texts, DIMENSIONS, make)
            assert found.tolist() == np.array([vector(one) for one in texts], np.float32).tolist()
            assert turns - before > 10
        nursery.cancel_scope.cancel()
