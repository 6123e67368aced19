"""A graph looks at as many candidates as it needs, measured when it is built; what is mapped holds nobody."""

from __future__ import annotations

import pathlib
import threading
from typing import Any

import numpy as np
import pytest

from flow_vectors.checking import Ids, Vectors
from flow_vectors.hnsw.calibration import LADDER, LEAST, enough, measured
from flow_vectors.hnsw.graph import HnswGraph, HnswMaker
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local import index as local_index
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

    def half(queries: Vectors, ef: int) -> list[Ids]:
        """Of the ten nearest of each, itself apart, every other, until many are asked for."""
        nearest = [np.argsort(-scores(rows, query, metric), kind="stable") for query in queries]
        if metric == "inner_product":  # of which a row itself need not be the best
            others = [
                one[one != np.argmax((rows == query).all(axis=1))]
                for one, query in zip(nearest, queries, strict=True)
            ]
        else:
            others = [one[1:] for one in nearest]
        return [one[:10:2] if ef < 200 else one[:10] for one in others]

    recalls = measured(rows, metric, half, lambda _: None)
    assert [one for one in recalls if one[0] < 200] == [(ef, 0.5) for ef in LADDER if ef < 200]
    assert recalls[-1] == (256, 1.0)
    assert measured(rows[1:], metric, half, lambda _: None) == []


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
