"""The embedder `onnx`: a cache, a gathering of texts, and one task that takes batches through the model."""

from __future__ import annotations

import pathlib
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from flow_embedders.measures import of_embedder
from flow_embedders.onnx.gathering import Gathering, Order, Place
from flow_embedders.onnx.sentences import SentenceModel, digest
from flowcore.errors import EmbeddingFailed
from flowcore.routing import Identity, VectorCache
from flowcore.telemetry import Reading

if TYPE_CHECKING:
    from flow_embedders.onnx.settings import OnnxConfig
    from flowcore.routing import Vectors

VERSION = 1
"""Goes up when the same model and text give another vector."""


class OnnxEmbedder:
    """Vectors of a sentence model. Made by `open_embedder`."""

    def __init__(self, config: OnnxConfig, model: SentenceModel, digest: str) -> None:
        self._model = model
        self._batch = config.batch
        self._max_characters = config.max_characters
        self._cache = VectorCache(config.cache)
        self._gathering: Gathering[trio.Event] = Gathering()
        self._wanted = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        self._texts = self._cut = self._batches = self._embedded = self._failures = 0
        self._seconds = 0.0
        how = f"{config.pooling}.{config.max_tokens}.{config.max_characters}"
        self.identity = Identity(
            name="onnx", version=f"{VERSION}.{how}", dimensions=model.dimensions, digest=digest
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions). Raises EmbeddingFailed."""
        most = self._max_characters
        self._texts += len(texts)
        self._cut += sum(len(text) > most for text in texts)
        return await self._cache.through(
            [text[:most] for text in texts], self.identity.dimensions, self._make
        )

    async def _make(self, texts: list[str]) -> Vectors:
        order = Order(
            texts, np.empty((len(texts), self.identity.dimensions), np.float32), trio.Event()
        )
        self._gathering.add(order)
        self._wanted.set()
        try:
            await order.done.wait()
        finally:
            self._gathering.discard(order)
        if order.error is not None:
            raise EmbeddingFailed(str(order.error)) from order.error
        return order.made

    async def run(self) -> None:
        """Take batch after batch through the model, in a thread."""
        while True:
            await self._wanted.wait()
            if batch := self._gathering.take(self._batch):
                await self._work(batch)
            else:
                self._wanted = trio.Event()

    async def _work(self, batch: Sequence[Place[trio.Event]]) -> None:
        texts = [order.texts[row] for order, row in batch]
        began = time.perf_counter()
        self._batches += 1
        try:
            try:
                vectors = await trio.to_thread.run_sync(self._model, texts, limiter=self._limiter)
            finally:
                self._seconds += time.perf_counter() - began
        except Exception as error:
            self._failures += 1
            over = self._gathering.failed(batch, error)
            if len(over) > 1:  # one caller's text is no other's failure
                for order in over:
                    await self._work([place for place in batch if place[0] is order])
                return
        else:
            self._embedded += len(batch)
            over = self._gathering.finished(batch, vectors)
        for order in over:
            order.done.set()

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_embedder(self.status())

    def status(self) -> dict[str, Any]:
        """Texts asked for and cut, those that went through the model, in how many batches and seconds, how
        many batches failed, orders that wait, and the cache."""
        return {
            "texts": self._texts,
            "cut": self._cut,
            "embedded": self._embedded,
            "batches": self._batches,
            "seconds": round(self._seconds, 6),
            "failures": self._failures,
            "waiting": len(self._gathering),
            "cache": self._cache.status(),
        }


@asynccontextmanager
async def open_embedder(
    config: OnnxConfig, model: pathlib.Path, tokenizer: pathlib.Path
) -> AsyncGenerator[OnnxEmbedder]:
    """Load the model in a thread, and serve. Raises AssemblyError if it cannot be used."""

    def load() -> tuple[SentenceModel, str]:
        loaded = SentenceModel(
            model,
            tokenizer,
            pooling=config.pooling,
            max_tokens=config.max_tokens,
            threads=config.threads,
        )
        return loaded, digest(model, tokenizer)

    embedder = OnnxEmbedder(config, *await trio.to_thread.run_sync(load))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(embedder.run)
        yield embedder
        nursery.cancel_scope.cancel()
