"""What a vector costs: by hashed words, and by a sentence model through onnxruntime, alone and in batches.

Each text is asked for through the embedder, as the router does; the texts are the tasks of `mcp_tasks.py`,
about a dozen words each. Also how long the event loop is held while others' texts are worked on.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from statistics import median

import trio

from benchmarks.mcp_tasks import tasks
from benchmarks.minilm import MINILM, QUANTISED, open_minilm
from benchmarks.report import Figure, absent
from benchmarks.waiting import Waiting, waiting
from flow_embedders.projection import Hashed
from flowcore.routing import Embedder

Opened = Callable[[int], AbstractAsyncContextManager[Embedder]]
ROUNDS = 3
BATCH = 16
MISSING = "all-MiniLM-L6-v2 is missing: `make models` brings it"


def run(texts: int = 558) -> list[Figure]:
    """Milliseconds a text, and the longest time that the loop was held. `texts`: how many are used."""
    given = [task.text for task in tasks()][:texts]
    figures = trio.run(_family, "hashed", _hashed, given)
    for name, model in (("MiniLM", MINILM / "model.onnx"), ("MiniLM int8", QUANTISED)):
        if model.is_file():
            figures += trio.run(_family, name, _minilm(model), given)
        else:
            why = {"onnxruntime": absent(MISSING)}
            figures.append(Figure(name=f"{name}: a text", value=None, unit="ms", peers=why))
    return figures


def setup() -> dict[str, str]:
    """How it is measured."""
    return {
        "a text": f"one call a text, the median and the 99th percentile of {ROUNDS} rounds, no cache",
        "from the cache": "one call a text that was asked for before",
        "in one call": "all texts in one call, the time divided by their number",
        "callers at once": f"each text by a task of its own, {BATCH} at a time",
        "loop": "the longest wait between two turns of another task while all texts are worked on, less what"
        f" threads waited for a processor meanwhile; the least of {ROUNDS} rounds",
        "model": "all-MiniLM-L6-v2, float32 or int8 weights, one thread",
    }


@asynccontextmanager
async def _hashed(cache: int) -> AsyncGenerator[Embedder]:
    yield Hashed(384, 20_000, cache)


def _minilm(model: pathlib.Path) -> Opened:
    return lambda cache: open_minilm(model, cache=cache, batch=BATCH)


async def _family(name: str, opened: Opened, texts: list[str]) -> list[Figure]:
    bars = {"a text, p50": 0.1, "from the cache": 0.05} if name == "hashed" else {}
    figures = []

    def figure(what: str, seconds: float, bar: float | None = None) -> None:
        figures.append(
            Figure(
                name=f"{name}: {what}", value=seconds * 1e3, unit="ms", bar=bar or bars.get(what)
            )
        )

    began = time.perf_counter()
    async with opened(0) as embedder:
        figure("open", time.perf_counter() - began)
        alone = await _alone(embedder, texts)
        figure("a text, p50", median(alone))
        figure("a text, p99", sorted(alone)[int(0.99 * (len(alone) - 1))])
        figure("a text, in one call", await _together(embedder, texts))
        figure(f"a text, {BATCH} callers at once", await _at_once(embedder, texts))
        # whatever else the machine does is not in every round
        held = [await _held(embedder, texts) for _ in range(ROUNDS)]
        figure("loop held", min(held), bar=5.0)
    async with opened(64 << 20) as embedder:
        await embedder.embed(texts)
        figure("from the cache", median(await _alone(embedder, texts)))
    return figures


async def _alone(embedder: Embedder, texts: list[str]) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        for text in texts:
            began = time.perf_counter()
            await embedder.embed([text])
            times.append(time.perf_counter() - began)
    return times


async def _together(embedder: Embedder, texts: list[str]) -> float:
    began = time.perf_counter()
    await embedder.embed(texts)
    return (time.perf_counter() - began) / len(texts)


async def _at_once(embedder: Embedder, texts: list[str]) -> float:
    waiting = iter(texts)

    async def ask() -> None:
        for text in waiting:
            await embedder.embed([text])

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(BATCH):
            nursery.start_soon(ask)
    return (time.perf_counter() - began) / len(texts)


async def _held(embedder: Embedder, texts: list[str]) -> float:
    longest = 0.0

    async def tick(waited: Waiting) -> None:
        nonlocal longest
        last, before = time.perf_counter(), waited()
        while True:
            await trio.lowlevel.checkpoint()
            now, by_now = time.perf_counter(), waited()
            longest = max(longest, (now - last) - (by_now - before))
            last, before = now, by_now

    with waiting() as waited:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick, waited)
            await trio.lowlevel.checkpoint()
            await embedder.embed(texts)
            for _ in range(2):  # so that it sees how long the last turn was
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    return longest
