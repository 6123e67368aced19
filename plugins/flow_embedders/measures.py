"""What embedders have to tell as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowcore.telemetry import Reading, counter, gauge

TEXTS = counter("flowcore.embedder.texts", "{text}", "Texts that were asked for.")
CUT = counter("flowcore.embedder.cut", "{text}", "Texts that were too long, and cut.")
SECONDS = counter("flowcore.embedder.time", "s", "Time spent on embedding, or waiting for it.")
FAILURES = counter("flowcore.embedder.failures", "{failure}", "Batches or requests that failed.")
CACHED = counter(
    "flowcore.embedder.cache.lookups", "{text}", "Texts looked for in the cache.", "outcome"
)
SIZE = gauge("flowcore.embedder.cache.size", "By", "What the cache takes.")


def of_embedder(status: Mapping[str, Any]) -> Iterator[Reading]:
    """The readings of an embedder, by its status."""
    yield TEXTS.of(status["texts"])
    yield CUT.of(status["cut"])
    yield SECONDS.of(status["seconds"])
    yield FAILURES.of(status.get("failures"))
    cache = status["cache"]
    yield CACHED.of(cache["hits"], "hit")
    yield CACHED.of(cache["misses"], "miss")
    yield SIZE.of(cache["bytes"])
