"""`prometheus`: all metrics at a path of the `api` edges, for a Prometheus that comes to fetch them.

Whoever asks may in as for the edge's other paths: on loopback without `auth` anybody, else who brings
credentials and passes the edge's guards with the action `metrics`. What a scrape takes of the event loop it
takes in slices, so that requests go on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from flowcore.config import setting
from flowcore.config import validators as v
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.telemetry import (
    OPEN_METRICS_END,
    OPEN_METRICS_TYPE,
    PROMETHEUS_TYPE,
    Exporter,
    Histogram,
    LogLine,
    Metrics,
    Page,
    Reading,
    Signal,
    Snapshot,
    SpanRecord,
    counter,
    histogram,
    text_pieces,
)

SCRAPES = counter("flowcore.scrape.answered", "{scrape}", "Scrapes that were answered.", "exporter")
SIZE = counter("flowcore.scrape.io", "By", "Bytes of their answers.", "exporter")
DURATION = histogram("flowcore.scrape.duration", "s", "Scrapes, from asking to answer.", "exporter")

_SLICE = 0.002
"""Seconds for which the event loop is held, before others have their turn."""


@attrs.frozen(kw_only=True)
class PrometheusConfig:
    """Where metrics are to be fetched."""

    path: str = setting(
        "/metrics",
        validator=v.matches(r"(/[A-Za-z0-9._~-]+)+"),
        help="the path at every `api` edge; one that the edge has itself is refused",
    )


class Prometheus:
    """Answers scrapes."""

    signals: frozenset[Signal] = frozenset()

    def __init__(self, config: PrometheusConfig, metrics: Metrics) -> None:
        self.pages: Mapping[str, Callable[[str], Awaitable[Page]]] = {config.path: self.scrape}
        self._metrics = metrics
        self._scrapes = self._bytes = 0
        self._took = Histogram()

    async def scrape(self, accept: str) -> Page:
        """All metrics now, in the form that is asked for: OpenMetrics if it is named, else text 0.0.4."""
        began = trio.current_time()
        wanted = "application/openmetrics-text" in accept
        families = list(reversed((await self._metrics.snapshot()).families))
        pieces: list[bytes] = []
        since = time.perf_counter()
        while families:  # each is let go of with its text: all at once would take long, too
            for piece in text_pieces(families.pop(), open_metrics=wanted):
                pieces.append(piece.encode())
                if time.perf_counter() - since > _SLICE:
                    await trio.lowlevel.checkpoint()
                    since = time.perf_counter()
        if wanted:
            pieces.append(OPEN_METRICS_END.encode())
        body = b"".join(pieces)
        await trio.lowlevel.checkpoint()
        self._scrapes += 1
        self._bytes += len(body)
        self._took.record(trio.current_time() - began)
        return Page(OPEN_METRICS_TYPE if wanted else PROMETHEUS_TYPE, body)

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield SCRAPES.of(self._scrapes, name)
        yield SIZE.of(self._bytes, name)
        yield DURATION.of(self._took.distribution(), name)

    async def send_spans(self, spans: Sequence[SpanRecord]) -> None:
        """Nothing: it is not asked to."""

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Nothing: it is not asked to."""

    async def send_metrics(self, snapshot: Snapshot) -> None:
        """Nothing: it is not asked to."""

    def status(self) -> dict[str, Any]:
        """How often it was asked, and how much it answered."""
        return {"scrapes": self._scrapes, "bytes": self._bytes}


@asynccontextmanager
async def open_prometheus(config: PrometheusConfig, context: Context) -> AsyncGenerator[Exporter]:
    """Ready to be asked; how late the event loop is, is measured meanwhile."""
    async with context.host.metrics.watching():
        yield Prometheus(config, context.host.metrics)


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(
        Factory(
            "exporter",
            "prometheus",
            PrometheusConfig,
            open_prometheus,
            claims=lambda config: (f"page {config.path}",),
        )
    )
