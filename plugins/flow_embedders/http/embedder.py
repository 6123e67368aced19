"""The embedder `http`: a cache, and requests for what is not in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from flow_embedders.http.answers import Unsuccessful
from flow_embedders.http.endpoint import Endpoint
from flow_embedders.measures import of_embedder
from flowcore.assembly import Status
from flowcore.errors import EmbeddingFailed
from flowcore.routing import Identity, VectorCache
from flowcore.telemetry import Reading
from flowcore.text import well_formed

if TYPE_CHECKING:
    from flow_embedders.http.settings import HttpConfig
    from flowcore.routing import Vectors

VERSION = 1
"""Goes up when the same model and text give another vector."""


class HttpEmbedder:
    """Vectors of a model that somebody else runs."""

    def __init__(
        self, config: HttpConfig, endpoint: Endpoint, report: Callable[[Status, str], None]
    ) -> None:
        """`report` is told when the endpoint cannot be used, and when it can be again."""
        self._endpoint = endpoint
        self._report = report
        self._batch = config.batch
        self._max_characters = config.max_characters
        self._slots = trio.CapacityLimiter(config.requests)
        self._cache = VectorCache(config.cache)
        self._texts = self._cut = self._embedded = self._failures = 0
        self._seconds = 0.0
        self._failing = False
        model = f"{config.model}@{config.revision}" if config.revision else config.model
        self.identity = Identity(
            name="http",
            version=f"{VERSION}.{model}.{config.max_characters}",
            dimensions=config.dimensions,
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions); zeros for what is nothing but white space. Raises EmbeddingFailed."""
        most = self._max_characters
        self._texts += len(texts)
        self._cut += sum(len(text) > most for text in texts)
        return await self._cache.through(
            [well_formed(text[:most]) for text in texts], self.identity.dimensions, self._make
        )

    async def _make(self, texts: list[str]) -> Vectors:
        made = np.zeros((len(texts), self.identity.dimensions), np.float32)
        # endpoints refuse texts with nothing in them
        rows = [row for row, text in enumerate(texts) if text and not text.isspace()]
        failure: Unsuccessful | None = None

        async def ask(rows: list[int]) -> None:
            nonlocal failure
            try:
                async with self._slots:
                    made[rows] = await self._asked([texts[row] for row in rows])
            except Unsuccessful as error:
                failure = failure or error
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for first in range(0, len(rows), self._batch):
                nursery.start_soon(ask, rows[first : first + self._batch])
        if failure is not None:
            raise EmbeddingFailed(str(failure)) from failure
        return made

    async def _asked(self, texts: list[str]) -> Vectors:
        began = time.perf_counter()
        try:
            vectors = await self._endpoint.vectors(texts)
        except Unsuccessful as error:
            self._failures += 1
            self._failing = True
            self._report(Status.DEGRADED, str(error))
            raise
        finally:
            self._seconds += time.perf_counter() - began
        self._embedded += len(texts)
        if self._failing:
            self._failing = False
            self._report(Status.OK, "")
        return vectors

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        del name
        return of_embedder(self.status())

    def status(self) -> dict[str, Any]:
        """Texts asked for and cut, those the endpoint answered, requests and how many of them were further
        attempts, failures, seconds of waiting for it, and the cache."""
        return {
            "texts": self._texts,
            "cut": self._cut,
            "embedded": self._embedded,
            "requests": self._endpoint.requests,
            "retries": self._endpoint.retries,
            "failures": self._failures,
            "seconds": round(self._seconds, 6),
            "cache": self._cache.status(),
        }
