"""Graphs are gone on with, and several become one: a search looks at fewer, and finds the same."""

from __future__ import annotations

import pathlib
import random
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import trio

from flow_vectors.checking import Vectors
from flow_vectors.hnsw.graph import HnswMaker
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local import tending
from flow_vectors.local.graphs import Base, Graph
from flow_vectors.local.index import LocalIndex
from flow_vectors.local.policy import in_one, plan
from flow_vectors.local.rows import ALIVE, Front, Segment
from flowcore.routing import Metric
from support.indexes import local, scores, space, vectors

KINDS = ("f32", "f16", "i8")


class Finds:
    """A graph of which only its being there matters."""

    memory = 0
    busy = mapped = False
    told: Mapping[str, Any] = {}

    def at_least(self, candidates: int) -> None:
        raise NotImplementedError

    def candidates(
        self, query: object, count: int, times: float = 1.0
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        raise NotImplementedError


def segment(first: int, count: int, *, dead: int = 0, graph: bool = True) -> Segment:
    made = Segment(
        f"{first}",
        np.arange(first, first + count),
        np.zeros((count, 2), np.float32),
        np.full(count, ALIVE),
    )
    made.kill(np.arange(dead), 1)
    found: Graph = Finds()
    made.graph = found if graph else None
    return made


def test_the_others_are_put_into_the_greatest_where_that_is_worth_it() -> None:
    great, small = segment(0, 64_000), segment(64_000, 2_000)
    planned = in_one([great, segment(70_000, 500, graph=False), small], grows=True)
    assert planned is not None
    assert planned.inputs == (small, great)
    assert planned.base is great
    assert planned.graph
    assert not planned.at_once
    assert in_one([great], grows=True) is None
    assert in_one([great, segment(64_000, 1_999)], grows=True) is None  # too little
    no_graph = [great, segment(64_000, 400, graph=False)]
    assert in_one(no_graph, grows=True) is None  # no graph, no cost


def test_what_must_be_built_anew_must_be_worth_more() -> None:
    great, small = segment(0, 64_000), segment(64_000, 2_000)
    assert in_one([great, small], grows=True) is not None
    assert in_one([great, small]) is None
    anew = in_one([great, segment(64_000, 8_000)])
    assert anew is not None
    assert anew.base is None


def test_a_graph_of_which_some_is_dead_is_gone_on_with_until_it_is_too_much() -> None:
    new = segment(90_000, 2_500, graph=False)
    holed, hollow = segment(0, 20_000, dead=8_000), segment(0, 20_000, dead=8_001)
    planned = plan([new, holed], 2_049, grows=True)
    assert planned is not None
    assert planned.base is holed
    assert set(planned.inputs) == {new, holed}
    alone = plan([new, hollow], 2_049, grows=True)
    assert alone is not None
    assert alone.inputs == (new,)
    anew = plan([hollow], 2_049, grows=True)
    assert anew is not None
    assert anew.inputs == (hollow,)
    assert anew.base is None
    assert plan([holed], 2_049, grows=True) is None


def test_a_graph_that_is_gone_on_with_may_have_eight_times_as_many_rows() -> None:
    new, great, greater = segment(0, 2_500, graph=False), segment(1, 20_000), segment(2, 181_000)
    planned = plan([new, great, greater], 2_049, grows=True)
    assert planned is not None
    assert set(planned.inputs) == {new, great}
    assert planned.base is great
    one_for_one = plan([new, great, greater], 2_049)
    assert one_for_one is not None
    assert one_for_one.inputs == (new,)


async def test_rows_that_were_written_over_are_masked_and_the_graph_is_gone_on_with(
    tmp_path: pathlib.Path,
) -> None:
    rows, chance = vectors(3000, 1), random.Random(4)
    async with local("hnsw i8 mapped", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(3000), rows)
        await index.settle()
        (before,) = index.segments
        added = index.tending.added
        some = np.array(sorted(chance.sample(range(3000), 500)))
        other = vectors(500, 2)
        rows[some] = other
        await index.add(some, other)
        await index.settle()
        (after,) = index.segments
        assert after.ids[:3000][before.died != ALIVE].tolist() == [-1] * 500
        assert (after.alive, after.dead, index.count) == (3000, 500, 3000)
        assert index.tending.added - added <= 500
        await _finds(index, rows)
        assert await index.remove(np.array([0, 2999, 3000])) == 2
        await index.save(7)
    async with local("hnsw i8 mapped", tmp_path, front=64).open_index("a", space()) as index:
        assert (index.count, index.position) == (2998, 7)
        rows[0] = rows[2999] = -rows[1]
        await _finds(index, rows)
        await index.add(some[:300], vectors(300, 5))
        await index.add(some[300:], vectors(200, 6))
        await index.settle()
        # 1,002 of 4,000 are dead by now: some more, and it is built anew without them
        await index.add(np.arange(1000, 1800), vectors(800, 7))
        await index.settle()
        (anew,) = index.segments
        assert (anew.alive, anew.dead) == (2998, 0)
        assert len(anew.ids) == 2998


async def _finds(index: LocalIndex, rows: Vectors) -> None:
    """Nearly all of what is right is found, and by the graph."""
    found = 0
    for query in vectors(50, 3):
        right = np.argsort(-scores(rows, query, "cosine"))[:10]
        found += len(set((await index.search(query, 10)).ids.tolist()) & set(right.tolist()))
    assert found > 450
    assert index.status()["fallbacks"] == {}


@pytest.mark.parametrize("storage", KINDS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
def test_a_graph_is_gone_on_with(storage: str, metric: Metric, tmp_path: pathlib.Path) -> None:
    maker = HnswMaker(HnswConfig(storage=storage))  # type: ignore[arg-type]
    rows = vectors(1500, 1, 32)
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    told = maker.build(rows[:1000], tmp_path / "first", metric, lambda _: None)
    seen: list[int] = []
    base = Base(tmp_path / "first", 1000, told)
    told = maker.build(rows, tmp_path / "second", metric, seen.append, base)
    assert min(one for one in seen if one) == 1000
    graph = maker.open(tmp_path / "second", rows, metric, told)
    found = 0
    for query in rows[::15]:
        right = scores(rows, query, metric)
        near = graph.candidates(query, 10)
        found += len(set(near[:10].tolist()) & set(np.argsort(-right)[:10].tolist()))
    assert found > 0.85 * 1000


def test_bytes_that_were_scaled_to_smaller_numbers_are_not_gone_on_with(
    tmp_path: pathlib.Path,
) -> None:
    maker, rows = HnswMaker(HnswConfig(storage="i8")), vectors(600, 1, 32)
    rows[500:] *= 3
    told = maker.build(rows[:500], tmp_path / "first", "euclidean", lambda _: None)
    base, seen = Base(tmp_path / "first", 500, told), list[int]()
    other = maker.build(rows, tmp_path / "second", "euclidean", seen.append, base)
    assert other["scale"] == pytest.approx(127 / np.abs(rows).max())
    assert 64 in seen


@pytest.mark.parametrize("kind", ["hnsw f16", "hnsw i8 mapped"])
async def test_two_graphs_become_one_and_what_was_changed_meanwhile_counts(
    kind: str, tmp_path: pathlib.Path
) -> None:
    first, second = vectors(3000, 1), vectors(300, 2)
    async with local(kind, tmp_path, front=64).open_index("a", space()) as index:
        index.tending._spared_until = np.inf
        await index.add(np.arange(3000), first)
        while not any(one["graph"] for one in index.status()["segments"]):
            await index.tending._next()
        index.tending._spared_until = np.inf
        await index.add(np.arange(3000, 3300), second)
        while [one["graph"] for one in index.status()["segments"]] != [True, True]:
            await index.tending._next()
        settled = trio.Event()

        async def settle() -> None:
            await index.settle()
            settled.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle)
            while (index.status()["building"] or {}).get("what") != "building the graph":
                await index.tending._next()
            building = index.status()["building"]
            await index.remove(np.arange(0, 3300, 7))
            await settled.wait()
        assert building is not None
        assert building["of"] == 3300
        assert len(index.segments) == 1
        rows = np.concatenate([first, second])
        kept = np.arange(3300)[np.arange(3300) % 7 > 0]
        found = 0
        for query in vectors(50, 3):
            right = kept[np.argsort(-scores(rows[kept], query, "cosine"))[:10]]
            found += len(set((await index.search(query, 10)).ids.tolist()) & set(right.tolist()))
        assert found > 450
        await index.save(9)
    async with local(kind, tmp_path, front=64).open_index("a", space()) as index:
        assert index.count == len(kept)
        assert [one["graph"] for one in index.status()["segments"]] == [True]


async def test_merging_only_for_the_sake_of_searches_is_put_off_after_a_merge(
    tmp_path: pathlib.Path,
) -> None:
    async with local("hnsw f16", tmp_path, front=64).open_index("a", space()) as index:
        await index.add(np.arange(3000), vectors(3000, 1))
        while not any(one["graph"] for one in index.status()["segments"]):
            await index.tending._next()
        began = trio.current_time()
        while index.tending._spared_until <= began:
            await index.tending._next()
        assert index.tending._spared_until > began
        await index.settle()
        assert len(index.segments) == 1


async def test_what_is_left_of_a_front_is_copied_beside_the_event_loop(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, threads = threading.current_thread(), list[threading.Thread]()
    without, bury = Front.without, tending._bury

    def watched(self: Front, count: int) -> Front:
        threads.append(threading.current_thread())
        return without(self, count)

    def also(*arguments: object) -> None:
        threads.append(threading.current_thread())
        bury(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Front, "without", watched)
    monkeypatch.setattr(tending, "_bury", also)
    chance = random.Random(1)
    async with local("hnsw f16", tmp_path, front=64).open_index("a", space()) as index:
        for start in range(0, 2000, 40):
            await index.add(np.arange(start, start + 40), vectors(40, start))
            await index.remove(np.array([chance.randrange(start + 40)]))
        await index.settle()
    assert len(threads) > 2
    assert loop not in threads


async def test_what_a_merge_was_made_of_is_let_go_of_in_a_thread(tmp_path: pathlib.Path) -> None:
    loop, where = threading.get_ident(), []
    async with local("hnsw f16", tmp_path).open_index("a", space()) as index:
        for start in range(0, 64, 8):
            await index.add(np.arange(start, start + 8), vectors(8, start))
            for one in index.segments:
                weakref.finalize(one, lambda: where.append(threading.get_ident()))
                del one
            await index.settle()
    assert index.status()["merged"]
    assert any(thread != loop for thread in where)
