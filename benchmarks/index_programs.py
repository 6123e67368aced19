"""What `benchmarks.index` runs in processes of their own: one builds an index, one opens it and searches.

`python -m benchmarks.index_programs build|measure FOLDER KIND COUNT`; answers as JSON on standard output.
"""

from __future__ import annotations

import json
import pathlib
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import trio
from usearch.index import Index

from benchmarks.peers_programs.index_data import CHUNK, DIMENSIONS, Vectors, drawn, queries
from flow_vectors.hnsw.graph import HnswGraph, HnswMaker, quantised
from flow_vectors.hnsw.settings import HnswConfig
from flow_vectors.local.index import LocalIndex
from flow_vectors.local.opening import LocalIndexes
from flow_vectors.local.options import Options
from flowcore.cli.serve import settle_garbage
from flowcore.routing import Identity, Space

SPACE = Space(identity=Identity(name="benchmark", version="1", dimensions=DIMENSIONS))
KINDS = {
    "exact": None,
    "hnsw": HnswConfig(),
    "hnsw large": HnswConfig(storage="i8"),
}
"""Each as it is for such a number of vectors; what is not said is the default."""


class Steps(trio.abc.Instrument):
    """The longest that one step of a task took of the event loop's own CPU time, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began: float | None = None  # a step in which it was added counts for nothing

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._began is not None:
            self.longest = max(self.longest, time.thread_time() - self._began)


@asynccontextmanager
async def opened(folder: pathlib.Path, kind: str) -> AsyncGenerator[LocalIndex]:
    config = KINDS[kind]
    maker = None if config is None else HnswMaker(config)
    options = Options(front=1024 if config else 16_384)
    indexes = LocalIndexes(folder, maker, options, random.Random(1), lambda status, why: None)
    async with indexes.open_index("measured", SPACE) as index:
        yield index


async def build(folder: pathlib.Path, kind: str, count: int) -> dict[str, Any]:
    """Fill the index from where it was saved, and wait until it is built, with a bar on standard error."""
    steps = Steps()
    began = time.perf_counter()
    async with opened(folder, kind) as index, trio.open_nursery() as nursery:
        resumed = index.position
        trio.lowlevel.add_instrument(steps)
        nursery.start_soon(_bar, index, count)
        for start in range(0, count, CHUNK):
            if start < index.position:
                continue
            size = min(CHUNK, count - start)
            vectors = await trio.to_thread.run_sync(drawn, start // CHUNK, size)
            await index.add(np.arange(start, start + len(vectors)), vectors)
            if start % (10 * CHUNK) == 9 * CHUNK:
                await index.save(start + len(vectors))
        await index.save(count)
        await index.settle()
        await index.save(count)
        nursery.cancel_scope.cancel()
    print(file=sys.stderr)
    return {
        "seconds": time.perf_counter() - began,
        "resumed": resumed,
        "longest": steps.longest,
        "disk": index.status()["disk"],
    }


async def _bar(index: LocalIndex, count: int) -> None:
    while True:
        building = index.status()["building"] or {
            "what": "adding",
            "rows": index.count,
            "of": count,
        }
        done = int(40 * building["rows"] / max(1, building["of"]))
        bar = "#" * done + "." * (40 - done)
        text = f"{building['what']:18} [{bar}] {building['rows']:>9,} of {building['of']:,}"
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
        await trio.sleep(0.5)


async def measure(folder: pathlib.Path, kind: str, count: int) -> dict[str, Any]:
    """Open it as it was saved, and search, beside usearch alone on the same graph."""
    steps = Steps()
    before = _own()
    asked = queries()
    truth = np.load(folder / "truth.npy")
    right = [set(row) for row in truth.tolist()]
    began = time.perf_counter()
    async with opened(folder, kind) as index:
        took = time.perf_counter() - began
        assert (index.count, index.position) == (count, count), index.status()
        trio.lowlevel.add_instrument(steps)
        found, seconds = 0, []
        for query in asked[:100]:
            await index.search(query, 10)
        for number, query in enumerate(asked):
            began = time.perf_counter()
            hits = await index.search(query, 10)
            seconds.append(time.perf_counter() - began)
            found += len(set(hits.ids.tolist()) & right[number])
        own = _own() - before
        status = index.status()
        trio.lowlevel.remove_instrument(steps)
        beside = await _beside(index, kind, folder) if KINDS[kind] else {}
    return {
        "candidates": [one.get("candidates") for one in status["segments"]],
        "opened": took,
        "recall": found / truth.size,
        **_percentiles(seconds),
        "own": own,
        "memory": status["memory"],
        "fallbacks": status["fallbacks"],
        "longest": steps.longest,
        **beside,
    }


async def _beside(index: LocalIndex, kind: str, folder: pathlib.Path) -> dict[str, Any]:
    """Ours, usearch alone, and what one would write by hand with it to get the same answer, in turns.

    All three search the same graph in the same memory with as many candidates, each for another query than
    the one before: a search that finds the graph warm from the same query takes a third of the time.
    """
    config = KINDS[kind]
    assert config is not None
    (segment,) = index.segments
    graph = segment.graph
    assert isinstance(graph, HnswGraph)
    alone = Index(ndim=DIMENSIONS, metric="cos", dtype=config.storage)
    alone._compiled = (
        graph._index
    )  # the wrapper that `usearch.index` is, around the graph that is open
    scale = graph.scale if config.storage == "i8" else None
    wanted = config.rerank if config.storage == "i8" else 10
    truth = [set(row) for row in np.load(folder / "truth.npy").tolist()]
    asked = queries()
    given = asked if scale is None else quantised(asked, scale)

    def by_hand(query: Vectors) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        stored = query if scale is None else quantised(query, scale)
        rows = alone.search(stored, wanted, threads=1).keys.astype(np.int64)
        scores = segment.rows[rows] @ query
        best = np.argsort(-scores)[:10]
        return segment.ids[rows[best]], scores[best]

    took: dict[str, list[float]] = {"alone": [], "by hand": [], "ours": []}
    found = dict.fromkeys(("alone", "by hand"), 0)
    count = len(asked)
    for turn in range(3):
        for first in range(count):
            second, third = (first + count // 3) % count, (first + 2 * count // 3) % count
            began = time.perf_counter()
            keys = alone.search(given[first], 10, threads=1).keys
            one = time.perf_counter()
            ids, _ = by_hand(asked[second])
            other = time.perf_counter()
            await index.search(asked[third], 10)
            ended = time.perf_counter()
            if not turn:  # to warm up, and to see what is found
                found["alone"] += len(
                    set(segment.ids[keys.astype(np.int64)].tolist()) & truth[first]
                )
                found["by hand"] += len(set(ids.tolist()) & truth[second])
                continue
            for name, seconds in (
                ("alone", one - began),
                ("by hand", other - one),
                ("ours", ended - other),
            ):
                took[name].append(seconds)
    return {
        "turns": {name: _percentiles(seconds) for name, seconds in took.items()},
        "recalls": {name: one / (10 * count) for name, one in found.items()},
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[int(0.99 * len(ordered))]}


def _own() -> int:
    """Bytes of memory that are the process's own: neither shared nor of a file."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon in /proc/self/status")


if __name__ == "__main__":
    settle_garbage()  # as `flowserve` does
    program = {"build": build, "measure": measure}[sys.argv[1]]
    print(json.dumps(trio.run(program, pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
