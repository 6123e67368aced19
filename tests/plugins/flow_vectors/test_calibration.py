"""A graph looks at as many candidates as it needs, measured when it is built; what is mapped holds nobody."""

from __future__ import annotations

import pathlib
import random
import threading
from typing import Any

import numpy as np
import pytest
import trio

from flow_vectors.checking import Ids, Vectors
from flow_vectors.hnsw.calibration import HELD, LADDER, LEAST, enough, held_back, measured
from flow_vectors.hnsw.graph import HnswGraph, HnswMaker
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local import index as local_index
from flow_vectors.local.opening import LocalIndexes
from flow_vectors.local.options import Options
from flow_vectors.local.residence import Residence
from flowcore.routing import Metric
from support.indexes import local, scores, space, vectors

METRICS: tuple[Metric, ...] = ("cosine", "inner_product", "euclidean")


def hard(count: int) -> Vectors:
    """Vectors without any order, which a graph finds hard, each of length one."""
    rows = vectors(count, 5, 48)
    made: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


@pytest.mark.parametrize("storage", ["f16", "i8"])
def test_where_little_is_found_more_candidates_are_looked_at(
    storage: Any, tmp_path: pathlib.Path
) -> None:
    rows, queries = hard(6000), hard(6100)[6000:]
    config = HnswConfig(storage=storage, connectivity=8, ef_construction=40, ef_search=32)
    maker = HnswMaker(config)
    told = maker.build(rows, tmp_path / "g", "cosine", lambda _: None)
    tried = [ef for ef, _ in told["recalls"]]
    assert tried == list(LADDER[: len(tried)])
    assert told["recalls"][0][1] < 0.9

    def found(config: HnswConfig) -> tuple[int, float]:
        graph = HnswMaker(config).open(tmp_path / "g", rows, "cosine", told)
        same = 0
        for query in queries:
            near = graph.candidates(query, 10)
            best = near[np.argsort(-scores(rows[near], query, "cosine"))[:10]]
            same += len(set(best) & set(np.argsort(-scores(rows, query, "cosine"))[:10]))
        return graph.told["candidates"], same / (10 * len(queries))

    few = found(HnswConfig(storage=storage, ef_search=32, recall=0.0))
    enough_ = found(HnswConfig(storage=storage, ef_search=32))
    assert few[0] == 32
    assert enough_[0] > 64
    assert few[1] < enough_[1]
    assert enough_[1] > 0.93
    assert found(HnswConfig(storage=storage, ef_search=700))[0] == 700


@pytest.mark.parametrize("metric", METRICS)
def test_recall_is_measured_as_it_is(metric: Metric) -> None:
    rows = vectors(LEAST, 3)
    rows /= (
        np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else 1
    )  # as they are kept

    held = held_back(0, len(rows))
    others = np.setdiff1d(np.arange(len(rows)), held)

    def half(queries: Vectors, ef: int) -> list[Ids]:
        """Of the ten nearest of each that are not held back every other, until many are asked for."""
        nearest = [others[np.argsort(-scores(rows[others], one, metric))[:10]] for one in queries]
        return [one[::2] if ef < 200 else one for one in nearest]

    recalls = measured(rows, held, metric, half, lambda _: None)
    assert [one for one in recalls if one[0] < 200] == [(ef, 0.5) for ef in LADDER if ef < 200]
    assert recalls[-1] == (256, 1.0)


def test_rows_are_held_back_of_those_that_are_added_where_there_are_enough() -> None:
    assert len(held_back(0, LEAST)) == len(set(held_back(0, LEAST).tolist())) == HELD
    assert held_back(0, LEAST).tolist()[:: HELD - 1] == [0, LEAST - 1]
    assert held_back(LEAST - 100, LEAST).min() == LEAST - 100
    assert len(held_back(LEAST - 100, LEAST)) == 25
    assert not len(held_back(LEAST - 20, LEAST))
    assert not len(held_back(0, LEAST - 1))


def recall_of(graph: HnswGraph, rows: Vectors, queries: Vectors) -> float:
    same = 0
    for query in queries:
        near = graph.candidates(query, 10)
        best = near[np.argsort(-scores(rows[near], query, "cosine"))[:10]]
        same += len(set(best) & set(np.argsort(-scores(rows, query, "cosine"))[:10]))
    return same / (10 * len(queries))


@pytest.mark.parametrize("storage", ["f16", "i8"])
def test_what_was_measured_is_what_queries_find(storage: Any, tmp_path: pathlib.Path) -> None:
    """Rows that the graph has would tell of 99 of 100 at the first step, where queries find 80."""
    rows, queries = hard(6000), hard(6300)[6000:]
    maker = HnswMaker(HnswConfig(storage=storage))
    told = maker.build(rows, tmp_path / "g", "cosine", lambda _: None)
    recalls = dict(told["recalls"])
    assert recalls[32] < 0.95
    for ef, said in recalls.items():
        as_it_is = HnswConfig(storage=storage, recall=0.0, ef_search=ef)
        graph = HnswMaker(as_it_is).open(tmp_path / "g", rows, "cosine", told)
        assert abs(recall_of(graph, rows, queries) - said) < 0.04, (ef, said)
    chosen = maker.open(tmp_path / "g", rows, "cosine", told)
    assert recall_of(chosen, rows, queries) > 0.95
    near = [chosen.candidates(rows[one], 1)[0] for one in held_back(0, len(rows))]
    assert near == held_back(0, len(rows)).tolist(), "what was held back is in the graph"


async def test_where_live_searches_find_too_little_graphs_look_further(
    tmp_path: pathlib.Path,
) -> None:
    """Rows that are easy to find for each other, and queries that are like none of them."""
    chance = np.random.default_rng(1)
    rows = hard(7000)
    rows[:, :24] *= 0.05
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    first, later = rows[:5000], rows[5000:]
    config = HnswConfig(connectivity=6, ef_construction=30, ef_search=16, recall=0.97)
    options = Options(front=64, sample=1.0, recall=0.97)
    indexes = LocalIndexes(
        tmp_path, HnswMaker(config), options, random.Random(1), lambda status, reason: None
    )
    async with indexes.open_index("a", space(dimensions=48)) as index:
        await index.add(np.arange(5000), first)
        await index.settle()
        (before,) = {one["candidates"] for one in index.status()["segments"] if one["graph"]}
        queries = chance.normal(size=(800, 48)).astype(np.float32)
        queries[:, 24:] *= 0.05
        for at, query in enumerate(queries):
            await index.search(query, 10)
            while index.status()["recall"]["samples"] <= at:
                await trio.lowlevel.checkpoint()
        after = {one["candidates"] for one in index.status()["segments"] if one["graph"]}
        assert min(after) > before
        merged = index.status()["merged"]
        await index.add(np.arange(5000, 7000), later)
        await index.settle()
        assert index.status()["merged"] > merged, "there is another graph"
        assert {one["candidates"] for one in index.status()["segments"] if one["graph"]} == after


def test_the_fewest_candidates_that_are_enough() -> None:
    recalls = [(32, 0.9), (64, 0.95), (128, 0.98)]
    assert enough(recalls, 0.95, 32) == 64
    assert enough(recalls, 0.95, 100) == 100
    assert enough(recalls, 0.96, 32) == 128
    assert enough(recalls, 0.99, 32) == 128
    assert enough(recalls, 0.0, 32) == 32
    assert enough([], 0.99, 64) == 64


def test_who_waited_for_the_disk_is_not_sure_for_a_while() -> None:
    one = Residence()
    for at in range(50):
        assert not one.sure(at / 10)
        one.searched(0)
    assert one.sure(5.0)
    one.searched(1)
    assert not one.sure(5.1)
    for _ in range(50):
        one.searched(0)
    assert one.sure(5.2)
    assert not one.sure(16.0)  # long ago


async def test_a_mapped_graph_is_searched_on_the_event_loop_while_nobody_waits_for_the_disk(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, here = threading.current_thread(), list[bool]()
    candidates = HnswGraph.candidates

    def watched(self: HnswGraph, query: Vectors, count: int, times: float = 1.0) -> Ids:
        here.append(threading.current_thread() is loop)
        return candidates(self, query, count)

    monkeypatch.setattr(HnswGraph, "candidates", watched)
    async with local("hnsw i8 mapped", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(1000), vectors(1000, 1))
        await index.settle()
        for query in vectors(60, 2):
            await index.search(query, 3)
        assert not any(here[:40])
        index._residence._clean = 1 << 30  # the machine may have waited for some other file
        index._measures.usual = 1e-9  # nor may it have been slow
        await index.search(vectors(1, 3)[0], 3)
        assert here[-1]
        counts = iter(range(1000))
        monkeypatch.setattr(local_index, "waits", lambda: next(counts))
        index._measures.usual = 1e-9
        await index.search(vectors(1, 3)[0], 3)
        await index.search(vectors(1, 3)[0], 3)
        assert here[-2:] == [True, False]
