"""`hnsw`: graphs are built behind one's back, taken up after a kill, mapped; their recall is measured."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import trio

from flow_vectors.hnsw import graph as graphs
from flow_vectors.hnsw.graph import HnswMaker
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local.searching import BUILDING, NARROW, REMOVED
from flow_vectors.local.tending import GivenUp
from flowcore.errors import DamagedState
from flowcore.routing import Metric
from support.indexes import local, scores, space, vectors

KINDS = ("hnsw f32", "hnsw f16", "hnsw i8 mapped")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
async def test_finds_nearly_all_by_its_graph(
    kind: str, metric: Metric, scale: float, tmp_path: pathlib.Path
) -> None:
    rows = vectors(3000, 1, 32) * np.float32(scale)
    found = 0
    async with local(kind, tmp_path, front=64, sample=1.0).open_index(
        "a", space(metric, 32)
    ) as index:
        await index.add(np.arange(3000), rows)
        await index.settle()
        assert [one["graph"] for one in index.status()["segments"]] == [True]
        for query in rows[:50] + vectors(50, 2, 32) * np.float32(scale / 10):
            right = np.sort(scores(rows, query, metric))[-10:]
            hits = await index.search(query, 10)
            found += int((hits.scores >= right[0] - abs(right[0]) * 1e-3).sum())
        status = index.status()
        assert status["fallbacks"] == {}
        skipped = status["recall"]["skipped"]
        while index.status()["recall"]["samples"] + skipped < status["searches"]:
            await trio.lowlevel.checkpoint()
        measured = index.status()["recall"]["mean"]
    assert found / 500 > 0.9
    assert measured == pytest.approx(found / 500, abs=0.15)


async def test_an_unfinished_graph_is_taken_up_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_CHECKPOINT", 256)
    maker, rows = HnswMaker(HnswConfig()), vectors(1000, 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)  # as they are kept
    path = tmp_path / "x.graph.new"
    seen: list[int] = []

    def until(most: int) -> None:
        def progress(done: int) -> None:
            seen.append(done)
            if done > most:
                raise GivenUp

        seen.clear()
        with pytest.raises(GivenUp):
            maker.build(rows, path, "cosine", progress)

    until(700)
    assert seen[0] == 0
    until(800)
    assert seen[0] == 512
    part = tmp_path / "x.graph.part"
    part.write_bytes(part.read_bytes()[:-1] + b"\x55")
    until(100)
    assert seen[0] == 0  # what is damaged is begun again
    seen.clear()
    told = maker.build(rows, path, "cosine", seen.append)
    assert seen[-1] == 1000
    assert not part.exists()
    graph = maker.open(path, rows, "cosine", told)
    assert sum(graph.candidates(row, 1)[0] == number for number, row in enumerate(rows)) > 990
    with pytest.raises(DamagedState, match="1000 rows, 999 expected"):
        maker.open(path, rows[:999], "cosine", told)


async def test_what_it_falls_back_on_is_named(tmp_path: pathlib.Path) -> None:
    rows = vectors(2000, 1)
    async with local("hnsw f16", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(2000), rows)
        await index.search(rows[0], 3)
        while not index.segments:
            await index.tending._next()
        await index.search(rows[0], 3)
        assert index.status()["fallbacks"] == {BUILDING: 1}
        await index.settle()
        await index.search(rows[0], 3)
        hits = await index.search(rows[0], 3, lambda ids: ids >= 1998)
        assert sorted(hits.ids.tolist()) == [1998, 1999]
        assert index.status()["fallbacks"] == {BUILDING: 1, NARROW: 1}
        near = (await index.search(rows[0], 500)).ids
        await index.remove(near)
        assert len((await index.search(rows[0], 3)).ids) == 3
        assert index.status()["fallbacks"] == {BUILDING: 1, NARROW: 1, REMOVED: 1}


async def test_changes_while_it_builds_are_in_what_was_built(tmp_path: pathlib.Path) -> None:
    rows = vectors(4000, 1)
    async with local("hnsw f16", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(4000), rows)
        await index.settle()
        await index.add(np.arange(4000, 8000), vectors(4000, 2))
        while (index.status()["building"] or {}).get("what") != "building the graph":
            await index.tending._next()
        await index.remove(np.arange(0, 100))
        await index.add(np.arange(100, 110), -rows[100:110])
        assert index.status()["building"]
        await index.settle()
        assert index.count == 7900
        assert not set(range(100)) & set((await index.search(rows[5], 8000)).ids.tolist())
        assert (await index.search(-rows[105], 1)).ids.tolist() == [105]
        await index.save(1)
    async with local("hnsw f16", tmp_path, front=64).open_index("a", space()) as index:
        assert index.count == 7900
        assert index.status()["building"] is None


async def test_many_holes_are_closed(tmp_path: pathlib.Path) -> None:
    async with local("hnsw f16", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(1000), vectors(1000, 1))
        await index.settle()
        assert await index.remove(np.arange(0, 900, 2)) == 450
        await index.settle()
        (segment,) = index.status()["segments"]
        assert (segment["rows"], segment["removed"]) == (550, 0)
        await index.remove(np.arange(1000))
        await index.settle()
        assert index.status()["segments"] == []


async def test_a_large_graph_is_mapped_and_counts_little(tmp_path: pathlib.Path) -> None:
    rows = vectors(3000, 1, 64)
    maker = HnswMaker(HnswConfig(mapped=0))
    told = maker.build(rows, tmp_path / "g", "cosine", lambda _: None)
    mapped = maker.open(tmp_path / "g", rows, "cosine", told)
    loaded = HnswMaker(HnswConfig()).open(tmp_path / "g", rows, "cosine", told)
    assert mapped.mapped
    assert not loaded.mapped
    assert mapped.memory < loaded.memory / 3
    for row in rows[:20]:
        assert mapped.candidates(row, 10).tolist() == loaded.candidates(row, 10).tolist()


async def test_searches_side_by_side_agree_with_those_one_by_one(tmp_path: pathlib.Path) -> None:
    rows = vectors(3000, 1)
    async with local("hnsw i8 mapped", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(3000), rows)
        await index.settle()
        alone = [(await index.search(row, 10)).ids.tolist() for row in rows[:100]]
        beside: dict[int, list[int]] = {}

        async def search(number: int) -> None:
            beside[number] = (await index.search(rows[number], 10)).ids.tolist()

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(search, number)
        assert [beside[number] for number in range(100)] == alone
